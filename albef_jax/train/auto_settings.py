"""Chooses the options that are `auto`: the fastest setting that fits a device, and says why.

Pure: a device is described, and memory is estimated by whoever asks. What is faster than what is
data, `FASTEST_FIRST`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from albef_jax.config import auto
from albef_jax.config.auto import MICROBATCHES, REMATS
from albef_jax.distributed.accelerators import BFLOAT16_SINCE, Accelerator
from albef_jax.train.memory import Memory

GiB = 2**30
Settings = dict[str, Any]

# What the towers recompute, the fastest first, with the reason. A batch in parts comes before the
# next line: from 256 pairs at a time to 64, an H200 loses 15 % of its speed, while `full` adds a
# whole forward pass of the student, a quarter of the operations.
_DOTS = "recomputing cheap operations is faster than keeping them, and smaller"
FASTEST_FIRST: dict[str, dict[str, str]] = {
    "cpu": {"none": "nothing is recomputed on a CPU"},
    "gpu": {"dots": f"{_DOTS}: measured on an H100", "full": "`dots` does not fit"},
    "tpu": {"dots": f"{_DOTS}: on an H100, not measured on TPUs", "full": "`dots` does not fit"},
}
# Of the memory that a program may take, what the estimate may fill. XLA's own figure is up to 16 %
# above the estimate (benchmarks/results/train_step_*.json). A CPU's memory also holds the system
# and the data.
SHARES = {"cpu": 0.6, "gpu": 0.85, "tpu": 0.85}


@dataclass(frozen=True)
class Choice:
    """An option, the value chosen for it, and why."""

    option: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"auto: {self.option}={self.value}: {self.reason}"


def choose(
    config: ConfigDict,
    device: Accelerator,
    parts: tuple[int, ...] = (1,),
    estimate: Callable[[Settings], Memory] | None = None,
) -> list[Choice]:
    """A choice for each option that is `auto`; the others stay.

    Args:
        device: each of the run's devices.
        parts: numbers of micro-batches that the batch can be cut into, ascending.
        estimate: the memory of a step under all options that may be `auto`; None if nothing is
            trained.
    """
    asked, settings = auto.asked(config), auto.values(config)
    choices = []
    for option, decide in (("model.dtype", _dtype), ("model.attention", _attention)):
        if option in asked:
            choices.append(Choice(option, *decide(config, settings, device)))
            settings[option] = choices[-1].value
    if estimate is None:
        plain = dict.fromkeys(REMATS, "none") | {MICROBATCHES: 1}
        rest = [Choice(name, plain[name], "nothing is trained") for name in plain if name in asked]
        return choices + rest
    return choices + _memory_choices(asked, settings, device, parts, estimate)


def parts_of(batch: int, group: int, devices: int) -> tuple[int, ...]:
    """Numbers of micro-batches, doubled each time: whole groups, and rows for every device.

    Args:
        group: pairs that must stay together; 1 without contrast.
    """
    groups, found = batch // group, [1]
    while groups % (2 * found[-1]) == 0 and (batch // (2 * found[-1])) % devices == 0:
        found.append(2 * found[-1])
    return tuple(found)


def _dtype(config: ConfigDict, settings: Settings, device: Accelerator) -> tuple[str, str]:
    if settings["model.attention"] == "cudnn":
        return "bfloat16", "model.attention=cudnn needs it"
    if device.bfloat16:
        return "bfloat16", f"{device.kind} multiplies it fastest; weights and losses stay float32"
    if device.capability is not None:
        return "float32", f"{device.kind} has compute capability below {BFLOAT16_SINCE:g}"
    return "float32", f"{device.kind} is not known to multiply bfloat16 faster"


def _attention(config: ConfigDict, settings: Settings, device: Accelerator) -> tuple[str, str]:
    width, spare = divmod(config.model.image_width, config.model.image_heads)
    if not device.cudnn:
        return "xla", f"{device.kind} has no flash attention of cuDNN"
    if settings["model.dtype"] != "bfloat16":
        return "xla", f"cuDNN's needs bfloat16, and model.dtype={settings['model.dtype']}"
    if spare or width % 8 or width > 128:
        return "xla", f"cuDNN's takes heads of a multiple of 8 and at most 128, not {width}"
    return "cudnn", "flash attention, 1.2 times as fast a step: measured on an H100"


def _memory_choices(
    asked: tuple[str, ...],
    settings: Settings,
    device: Accelerator,
    parts: tuple[int, ...],
    estimate: Callable[[Settings], Memory],
) -> list[Choice]:
    """Recomputation and micro-batches: the first candidate that fits, else the smallest."""
    if not {*REMATS, MICROBATCHES} & {*asked}:
        return []
    smallest: tuple[int, Settings] | None = None
    for candidate in _candidates(asked, settings, device, parts):
        taken = estimate(candidate).total
        if device.memory is None or taken <= _budget(device):
            return _explained(asked, candidate, device, taken)
        if smallest is None or taken < smallest[0]:
            smallest = taken, candidate
    assert smallest is not None  # there is always a candidate
    return _explained(asked, smallest[1], device, smallest[0])


def _candidates(
    asked: tuple[str, ...], settings: Settings, device: Accelerator, parts: tuple[int, ...]
) -> Iterator[Settings]:
    """Settings from the fastest on."""
    towers = [option for option in REMATS if option in asked]
    for remat in _order(device) if towers else (None,):
        for count in parts if MICROBATCHES in asked else (settings[MICROBATCHES],):
            yield settings | dict.fromkeys(towers, remat) | {MICROBATCHES: count}


def _order(device: Accelerator) -> dict[str, str]:
    return FASTEST_FIRST.get(device.platform, FASTEST_FIRST["cpu"])


def _budget(device: Accelerator) -> float:
    return SHARES.get(device.platform, SHARES["cpu"]) * (device.memory or 0)


def _explained(
    asked: tuple[str, ...], chosen: Settings, device: Accelerator, taken: int
) -> list[Choice]:
    reasons = {option: _order(device).get(chosen[option], "") for option in REMATS}
    reasons[MICROBATCHES] = _fit(device, taken)
    return [Choice(name, chosen[name], reasons[name]) for name in reasons if name in asked]


def _fit(device: Accelerator, taken: int) -> str:
    about = f"a step takes about {taken / GiB:.1f} GiB a device"
    if device.memory is None:
        return f"{about}; how much {device.kind} has is unknown"
    budget = _budget(device)
    of = (
        f"the {budget / GiB:.1f} GiB to plan with ({budget / device.memory:.0%} of the "
        f"{device.memory / GiB:.1f} that the program may take of {device.kind})"
    )
    if taken <= budget:
        return f"{about}, within {of}"
    return f"{about}, MORE than {of}: lower train.batch_size, or raise mesh.fsdp"
