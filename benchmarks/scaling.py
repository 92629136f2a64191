"""What a pre-training step costs on many devices, without having them.

For each number of devices the step is compiled ahead of time for as many virtual CPU devices, and
XLA's program for one of them is read: which messages it sends and how many bytes, how much memory
it takes; operations are counted from the sizes. Batches grow with the devices. Nothing runs.

Example:
    python -m benchmarks.scaling --devices=1,8 --preset=small
"""

import argparse
import json
import os
import subprocess
import sys
import time


def compiled(given: argparse.Namespace) -> dict:
    """Figures of the step on `given.devices` virtual devices, all in this process."""
    from functools import partial

    import jax
    import jax.numpy as jnp

    from albef_jax.distributed.mesh import batch_sharding, make_mesh, state_shardings
    from albef_jax.losses.masked_lm import capacity
    from albef_jax.losses.pretraining import PretrainingLoss, Recipe
    from albef_jax.models.config import preset
    from albef_jax.observability import flops
    from albef_jax.train import memory
    from albef_jax.train.optimizer import adamw
    from albef_jax.train.state import init_state
    from albef_jax.train.step import StepConfig, compile_step
    from benchmarks.collectives import bytes_by_kind, collectives

    devices = int(given.devices)
    model = preset(given.preset, dtype=given.dtype)
    config = StepConfig(
        loss=PretrainingLoss(model, Recipe(contrast_group=given.group)),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )
    mesh = make_mesh(min(given.fsdp, devices))
    start = partial(init_state, model, config.optimizer, given.queue)
    state = jax.eval_shape(start, jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )
    batch, rows = given.batch * devices, batch_sharding(mesh)
    side = model.image_size
    text = jax.ShapeDtypeStruct((batch, given.length), jnp.int32, sharding=rows)
    image = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8, sharding=rows)
    inputs = {"image": image, "text_ids": text, "text_mask": text}
    began = time.perf_counter()
    step = compile_step(config, mesh, state).lower(placed, inputs).compile()
    seconds = time.perf_counter() - began
    xla = step.memory_analysis()
    assert xla is not None
    slots = capacity(given.group * given.length, 0.15) / given.group
    pair = flops.PretrainingFlops(model, given.length, given.group, given.queue, slots)
    return {
        "devices": devices,
        "mesh": dict(mesh.shape),
        "batch": batch,
        "collective_bytes": bytes_by_kind(collectives(step.as_text() or "")),
        "state_gib": round(xla.argument_size_in_bytes / 2**30, 3),
        "temporary_gib": round(xla.temp_size_in_bytes / 2**30, 3),
        "estimate_gib": round(memory.estimate(config, mesh, state, inputs).total / 2**30, 3),
        "tflops_a_device": round(pair.fused() * given.batch / 1e12, 3),
        "compile_s": round(seconds, 1),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", default="1,8,64,256", help="numbers, separated by commas")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=64, help="pairs a device")
    parser.add_argument("--group", type=int, default=64, help="contrast group")
    parser.add_argument("--length", type=int, default=25, help="tokens of a caption")
    parser.add_argument("--queue", type=int, default=65_536)
    parser.add_argument("--fsdp", type=int, default=1, help="devices that share parameters")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """One process for each number of devices, and one JSON line with all of them."""
    given = arguments()
    if given.inside:
        print(json.dumps(compiled(given)))
        return
    found = []
    for devices in given.devices.split(","):
        print(f"compiling for {devices} devices ...", file=sys.stderr, flush=True)
        # As many devices as asked for; XLA reads this when it starts, hence the process.
        flags = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:]]
        ended = subprocess.run(
            [*command, f"--devices={devices}", "--inside"],
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            check=True,
        )
        found.append(json.loads(ended.stdout.splitlines()[-1]))
    settings = {k: v for k, v in vars(given).items() if k not in ("devices", "inside")}
    print(json.dumps({"benchmark": "scaling", **settings, "found": found}))


if __name__ == "__main__":
    main()
