"""Pre-training steps side by side: plain against fused, precisions, recomputation, unrolling.

All variants run in turn in one process, round after round, so that their ratio is of the same
minutes. Each is compiled ahead; XLA's memory figure is printed beside our estimate, and the
operations that the step needs beside the time. Needs jax, flax and optax alone.

Variants are `plain` (one pass after another, `benchmarks.plain`) or `fused` (what training runs),
then changes of the model's configuration; `xla_flags=none` compiles as `train.xla_flags=none` does,
`frozen=image_encoder+text_encoder:6` trains as with these parts in `train.frozen`.

Examples:
    python -m benchmarks.train_step --preset=small --batch=8 --variants plain fused
    python -m benchmarks.train_step --batch=256 --variants fused fused,dtype=bfloat16
    python -m benchmarks.train_step --variants fused,unroll=1 fused,unroll=12
    python -m benchmarks.train_step --variants fused fused,frozen=image_encoder
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from albef_jax.distributed.mesh import batch_sharding, make_mesh, state_shardings
from albef_jax.losses import masked_lm
from albef_jax.losses.alignment import Keys
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import Inputs, PretrainingLoss, Recipe
from albef_jax.losses.queue import enqueue
from albef_jax.models.config import PRESETS, ModelConfig, preset
from albef_jax.models.frozen import Frozen
from albef_jax.models.primitives import normalize
from albef_jax.observability import flops
from albef_jax.train import memory, xla_flags
from albef_jax.train.ema import update_teacher
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, init_state
from albef_jax.train.step import Batch, StepConfig, step_keys, train_step
from benchmarks.model_changes import changed
from benchmarks.plain import plain_loss

WITHOUT_FLAGS = "xla_flags=none"
FROZEN = "frozen="


def plain_step(config: StepConfig[PretrainingLoss], state: TrainState, batch: Batch):
    """A whole step around the plain objective; negatives are drawn evenly, which costs the same."""
    keys = step_keys(config.loss, state.key, state.step)
    recipe, size = config.loss.recipe, len(batch["text_ids"])
    draws = masked_lm.draw_masking(
        keys["mask"], batch["text_ids"].shape, recipe.mlm_probability, config.loss.model.vocab_size
    )
    masked = masked_lm.mask_text(batch["text_ids"], draws, recipe.special)
    inputs = Inputs(normalize(batch["image"]), batch["text_ids"], batch["text_mask"], masked)
    others = jax.random.randint(keys["negatives"], (2, 1, size), 0, size)
    negatives = Negatives(others[0], others[1], jnp.ones((1, size), bool))
    teacher = update_teacher(state.teacher, state.params, config.momentum)
    assert state.queue is not None
    queue = Keys(state.queue.image, state.queue.text)
    dropout = (keys["student_dropout"], keys["teacher_dropout"])

    def loss(params):
        losses, features = plain_loss(
            config.loss.model,
            params,
            teacher,
            inputs,
            queue,
            negatives,
            config.alpha(state.step),
            dropout,
        )
        return losses["loss"], (losses, features)

    grads, (metrics, features) = jax.grad(loss, has_aux=True)(state.params)
    updates, opt_state = config.optimizer.update(grads, state.opt_state, state.params)
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        teacher=teacher,
        opt_state=opt_state,
        queue=enqueue(state.queue, *features),
    )
    return state, metrics


@dataclass
class Variant:
    """A compiled step with its state and times."""

    name: str
    compiled: Any
    state: TrainState
    compile_s: float
    estimate: memory.Memory
    seconds: list[float]

    def run(self, batch: Batch) -> None:
        """One step, timed."""
        start = time.perf_counter()
        self.state, metrics = self.compiled(self.state, batch)
        jax.block_until_ready((self.state, metrics))
        self.seconds.append(time.perf_counter() - start)


def configure(name: str, given: argparse.Namespace) -> tuple[Callable, StepConfig[PretrainingLoss]]:
    """A variant's step function, and its configuration.

    Raises:
        SystemExit: the variant is neither plain nor fused, or asks for a model that cannot be.
    """
    kind, *changes = (part for part in name.split(",") if part != WITHOUT_FLAGS)
    frozen = _frozen(changes)
    changes = [change for change in changes if not change.startswith(FROZEN)]
    if kind not in ("plain", "fused"):
        raise SystemExit(f"--variants {name}: starts with neither plain nor fused")
    if frozen and kind == "plain":
        raise SystemExit(f"--variants {name}: the plain step trains everything")
    model = preset(given.preset, image_size=given.image_size)
    try:
        model = frozen.model(changed(model, changes))
    except ValueError as error:
        raise SystemExit(f"--variants {name}: {error}") from None
    if model.attention == "cudnn" and jax.default_backend() != "gpu":
        raise SystemExit(f"--variants {name}: cuDNN needs an NVIDIA card; use attention=xla here")
    rate = 1e-4
    config = StepConfig(
        loss=PretrainingLoss(model, Recipe(contrast_group=min(given.group, given.batch))),
        optimizer=adamw(lambda step: jnp.float32(rate), 0.02),
        learning_rate=lambda step: jnp.float32(rate),
        alpha=lambda step: jnp.float32(0.4),
        microbatches=given.microbatches if kind == "fused" else 1,
        frozen=frozen,
    )
    return (train_step if kind == "fused" else plain_step), config


def _frozen(changes: list[str]) -> Frozen:
    """What a variant does not train."""
    named = (one.removeprefix(FROZEN).split("+") for one in changes if one.startswith(FROZEN))
    parts = (entry.partition(":") for entry in chain.from_iterable(named))
    return Frozen.of((name, int(layers) if layers else None) for name, _, layers in parts)


def prepare(name: str, given: argparse.Namespace, batch: Batch) -> Variant:
    """Compile a variant and make its state."""
    step, config = configure(name, given)
    mesh = make_mesh(1)
    start = partial(
        init_state, config.loss.model, config.optimizer, given.queue, frozen=config.frozen
    )
    abstract = jax.eval_shape(start, jax.random.key(0))
    shardings = state_shardings(mesh, abstract)
    state = jax.jit(start, out_shardings=shardings)(jax.random.key(0))
    config = replace(config, shards=mesh.size)
    options = xla_flags.flags(jax.default_backend(), mesh.size, os.environ)
    jitted = jax.jit(
        partial(step, config),
        donate_argnums=0,
        out_shardings=(shardings, None),
        compiler_options=None if WITHOUT_FLAGS in name.split(",") else options or None,
    )
    began = time.perf_counter()
    compiled = jitted.lower(state, batch).compile()
    return Variant(
        name,
        compiled,
        state,
        time.perf_counter() - began,
        memory.estimate(config, mesh, abstract, jax.eval_shape(lambda: batch)),
        [],
    )


def random_batch(model: ModelConfig, given: argparse.Namespace) -> Batch:
    """Noise for images, random words for captions, on the devices."""
    rng = np.random.default_rng(0)
    side = model.image_size
    batch = {
        "image": rng.integers(0, 256, (given.batch, side, side, 3), np.uint8),
        "text_ids": rng.integers(104, model.vocab_size, (given.batch, given.length), np.int32),
        "text_mask": np.ones((given.batch, given.length), np.int32),
    }
    return jax.device_put(batch, batch_sharding(make_mesh(1)))


def trace(variants: list[Variant], batch: Batch, folder: Path) -> None:
    """Profile two steps of each variant, not timed, into a folder named after its place."""
    for number, variant in enumerate(variants):
        timed = len(variant.seconds)
        with jax.profiler.trace(str(folder / str(number)), create_perfetto_trace=True):
            for _ in range(2):
                variant.run(batch)
        del variant.seconds[timed:]


def figures(variant: Variant, given: argparse.Namespace) -> dict[str, Any]:
    """What was measured of a variant."""
    _, config = configure(variant.name, given)
    group, seconds = config.loss.recipe.contrast_group, statistics.median(variant.seconds)
    slots = masked_lm.capacity(group * given.length, config.loss.recipe.mlm_probability) / group
    needed = flops.PretrainingFlops(
        config.loss.model,
        given.length,
        group,
        given.queue,
        slots,
        "frozen" if "image_encoder" in config.frozen.modules else "trained",
    )
    operations = needed.fused() * given.batch
    peak = flops.peak(jax.devices()[0])
    xla = variant.compiled.memory_analysis()
    return {
        "step_s": round(seconds, 4),
        "pairs_per_s": round(given.batch / seconds, 2),
        "compile_s": round(variant.compile_s, 1),
        "tflops_needed_per_s": round(operations / seconds / 1e12, 3),
        "mfu": None if peak is None else round(operations / seconds / peak / jax.device_count(), 4),
        "memory_gib": round((xla.temp_size_in_bytes + xla.argument_size_in_bytes) / 2**30, 3),
        "memory_estimate_gib": round(variant.estimate.total / 2**30, 3),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base", choices=sorted(PRESETS))
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64, help="pairs, over all devices")
    parser.add_argument("--group", type=int, default=64, help="contrast group; plain has one")
    parser.add_argument("--microbatches", type=int, default=1, help="of fused variants")
    parser.add_argument("--length", type=int, default=25, help="tokens of a caption")
    parser.add_argument("--queue", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each variant")
    parser.add_argument("--variants", nargs="+", default=["plain", "fused"])
    parser.add_argument("--profile", help="folder for a trace of two more steps of each variant")
    return parser.parse_args()


def main() -> None:
    """Compile all, run them in turn, and print one JSON line."""
    given = arguments()
    batch = random_batch(preset(given.preset, image_size=given.image_size), given)
    variants = [prepare(name, given, batch) for name in given.variants]
    for _ in range(given.rounds + 1):
        for variant in variants:
            variant.run(batch)
    for variant in variants:
        del variant.seconds[0]  # the first step also loads the program
    if given.profile:
        trace(variants, batch, Path(given.profile))
    measured = {variant.name: figures(variant, given) for variant in variants}
    first = measured[given.variants[0]]["step_s"]
    line = {
        "benchmark": "train_step",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        **{name: value for name, value in vars(given).items() if name != "variants"},
        "variants": measured,
        "speedup_over_first": {
            name: round(first / one["step_s"], 3) for name, one in measured.items()
        },
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
