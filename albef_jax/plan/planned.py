"""One plan: a recipe on so many devices of a kind, computed from shapes and recorded results."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict

from albef_jax.config import auto
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.accelerators import OFFERS, Offer
from albef_jax.distributed.mesh import AXES, state_shardings
from albef_jax.distributed.slices import check_divisors
from albef_jax.plan import recorded
from albef_jax.plan.length import Items, items, steps
from albef_jax.plan.speed import Speed, speed
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.settle import choices
from albef_jax.tasks.shared.sketch import estimator, sketch
from albef_jax.train.auto_settings import SHARES, Choice
from albef_jax.train.memory import Memory, shard_bytes


@dataclass(frozen=True)
class Plan:
    """What a recipe needs.

    Attributes:
        settings: a value and a reason for each option that may be `auto`.
        memory: bytes of a step on each device.
        budget: bytes that the estimate may fill.
        pairs: on each device at a time.
        flops: operations needed for a pair; None for tasks where they are not counted.
        epoch, steps: None if the number of items is unknown.
        per_core: images a second that one core of a host reads and transforms.
        checkpoint: bytes of one.
        unknown: what cannot be said, and why.
        notes: what to keep in mind.
    """

    recipe: str
    device: str
    kind: str
    count: int
    hosts: int
    batch: int
    settings: list[Choice]
    memory: Memory
    budget: int
    pairs: float
    flops: float | None
    speed: Speed | None
    epoch: Items | None
    steps: int | None
    per_core: float | None
    checkpoint: int
    kept: int
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def hours(self) -> dict[str, float]:
        """Hours of the training steps at each speed that is known."""
        if self.speed is None or self.steps is None:
            return {}
        found = {name: getattr(self.speed, name) for name in ("at_peak", "bound", "expected")}
        pairs = self.steps * self.batch
        return {name: pairs / one.pairs_per_s / 3600 for name, one in found.items() if one}

    @property
    def cores(self) -> float | None:
        """Cores of each host that read as fast as expected; None without a speed."""
        if self.speed is None or self.speed.expected is None or not self.per_core:
            return None
        return self.speed.expected.pairs_per_s / self.per_core / self.hosts

    @property
    def fits(self) -> bool:
        """Whether the estimate is within the budget."""
        return self.memory.total <= self.budget


def plan(
    config: ConfigDict,
    device: str,
    count: int,
    folder: Path,
    *,
    pairs: int | None = None,
    as_configured: bool = False,
) -> Plan:
    """Plan a run.

    Args:
        device: a key of `albef_jax.distributed.accelerators.OFFERS`.
        folder: recorded results.
        pairs: items of an epoch.
        as_configured: take the configuration's settings, instead of what `auto` picks.

    Raises:
        ValueError: no such device, or a number of them that does not go with the configuration.
    """
    offer, mesh = _checked(config, device, count)
    estimate = estimator(config, mesh)
    settings = _settings(config, offer, mesh, estimate, as_configured)
    values = auto.values(config) | {one.option: one.value for one in settings}
    task = sketch(config, values)
    needed = task.step_flops(config.data.text_len)
    flops = None if needed is None else needed / task.batch_size
    setting = {option.partition(".")[2]: values[option] for option in auto.OPTIONS[:-1]}
    here = config.train.batch_size / count / values[auto.MICROBATCHES]
    fast = None if flops is None else speed(flops, setting, offer.kind, count, here, folder)
    epoch, found = items(config, pairs), recorded.cores(folder)
    made = Plan(
        recipe=f"configs/{config.task}.py:{config.preset}",
        device=device,
        kind=offer.kind,
        count=count,
        hosts=math.ceil(count / offer.a_host),
        batch=config.train.batch_size,
        settings=settings,
        memory=estimate(values),
        budget=int(SHARES[offer.platform] * (offer.device.memory or 0)),
        pairs=here,
        flops=flops,
        speed=fast,
        epoch=epoch,
        steps=steps(config, epoch),
        per_core=found and found[0]["per_s_and_core"]["whole"],
        checkpoint=_saved(task),
        # Beside the newest the best.
        kept=config.checkpoint.keep + bool(config.evaluation.every and config.checkpoint.best),
    )
    made.unknown.extend(_unknown(config, made))
    made.notes.extend(_notes(config, made, found))
    return made


def _checked(config: ConfigDict, device: str, count: int) -> tuple[Offer, AbstractMesh]:
    if device not in OFFERS:
        near = difflib.get_close_matches(device, OFFERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"--device={device}: choose one of {', '.join(OFFERS)}{hint}")
    offer, batch, fsdp = OFFERS[device], config.train.batch_size, config.mesh.fsdp
    if count < 1 or (count > offer.a_host and count % offer.a_host):
        raise ValueError(
            f"--count={count}: give at least 1, and beyond one host a multiple of the "
            f"{offer.a_host} devices of each"
        )
    if not task_spec(config.task).trains:
        raise ValueError(f"task {config.task} trains nothing: there is nothing to plan")
    if batch % count:
        near = max(round(batch / count), 1) * count
        raise ValueError(
            f"train.batch_size={batch} does not divide over {count} devices; the nearest is {near}"
        )
    check_divisors(count, config.mesh.slices or 1, fsdp)
    return offer, AbstractMesh((count // fsdp, fsdp), AXES)


def _saved(task: Task) -> int:
    """Bytes of a checkpoint: the whole state."""
    state, alone = jax.eval_shape(task.init_state), AbstractMesh((1, 1), AXES)
    return shard_bytes(state, state_shardings(alone, state))


def _settings(
    config: ConfigDict,
    offer: Offer,
    mesh: AbstractMesh,
    estimate: Callable[[dict[str, Any]], Memory],
    as_configured: bool,
) -> list[Choice]:
    if as_configured:
        if left := auto.asked(config):
            raise ValueError(f"--as_configured: {', '.join(left)} are auto; leave the flag out")
        said = "as configured"
        return [Choice(name, value, said) for name, value in auto.values(config).items()]
    config = config.copy_and_resolve_references()
    auto.use_auto(config)
    return choices(config, offer.device, mesh, estimate)


def _unknown(config: ConfigDict, made: Plan) -> list[str]:
    told = []
    if made.flops is None:
        told.append(
            f"speed, hours and cores: operations are counted for pre-training alone, and a step of "
            f"{config.task} was never measured"
        )
    elif made.speed and made.speed.expected is None:
        told.append("expected speed, hours and cores: these settings were never measured")
    if made.speed and made.speed.bound is None:
        told.append(
            "the bound: no program of such a step is recorded (python -m benchmarks.compile_for)"
        )
    if made.steps is None:
        told.append(
            "steps and hours: the number of items is unknown; give --pairs, or put the lists of "
            "data.train_files in place"
        )
    return told


def _notes(config: ConfigDict, made: Plan, found: tuple[dict, str] | None) -> list[str]:
    told = []
    own = auto.values(config)
    if any(own[one.option] not in (auto.AUTO, one.value) for one in made.settings):
        told.append(
            "these are the settings of auto; the recipe has others of its own (--as_configured)"
        )
    if made.hours:
        told.append("starting, compiling, evaluation and saving are not in the hours")
    figures = (made.speed.bound, made.speed.expected) if made.speed else ()
    shown = [one for one in figures if one]
    if made.speed and made.count > 1:
        told.append("nothing is taken off for what devices tell each other (docs/scaling.md)")
    if any(one.assumed for one in shown):
        told.append(
            "a share of the peak that is assumed is a guess: devices differ in memory bandwidth, "
            "kernels and compilers"
        )
    if shown and made.pairs < 64:
        told.append(
            f"{made.pairs:g} pairs at a time are fewer than the 64 of the records: expect less"
        )
    if shown and config.model.image_width * config.model.image_depth != 768 * 12:
        told.append("the records are of the base model at 256 pixels; this is another")
    elif shown and config.model.image_size != 256:
        told.append("the records are of images of 256 pixels; these are others")
    if made.cores is not None and found:
        told.append(
            f"cores as of {found[0]['machine']}: {found[0]['per_s_and_core']['whole']:.0f} images "
            f"a second each, {found[0]['images']} to {found[0]['image_size']} px ({found[1]})"
        )
    if made.flops and config.data.text_buckets:
        told.append(
            "operations are of texts padded to data.text_len; data.text_buckets saves some of them"
        )
    if config.evaluation.batch_size % made.count:
        told.append(
            f"evaluation.batch_size={config.evaluation.batch_size} does not divide over "
            f"{made.count} devices, which a run refuses: set a multiple"
        )
    return told
