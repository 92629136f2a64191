"""Where the time goes before the first step: imports, tracing, compiling with and without a cache.

Each figure is of a process of its own. The second compilation finds what the first has left in
JAX's persistent cache.

Example:
    python -m benchmarks.startup --preset=tiny
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

IMPORTS = ("jax", "albef_jax", "albef_jax.train.step", "albef_jax.config.defaults", "albef_jax.run")


def importing(module: str) -> float:
    """Seconds that a fresh process takes to import a module, Python's own start left out."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return round(float(ended.stdout), 2)


def compiling(given: argparse.Namespace) -> dict[str, float]:
    """Seconds to trace, lower and compile the pre-training step, in this process."""
    from functools import partial

    import jax
    import jax.numpy as jnp

    from albef_jax.distributed.mesh import make_mesh
    from albef_jax.losses.pretraining import PretrainingLoss, Recipe
    from albef_jax.models.config import preset
    from albef_jax.train.optimizer import adamw
    from albef_jax.train.state import init_state
    from albef_jax.train.step import StepConfig, compile_step

    model = preset(given.preset, unroll=given.unroll)
    config = StepConfig(
        loss=PretrainingLoss(model, Recipe(contrast_group=given.batch)),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )
    start = partial(init_state, model, config.optimizer, 1024)
    state = jax.eval_shape(start, jax.random.key(0))
    side = model.image_size
    text = jax.ShapeDtypeStruct((given.batch, 25), jnp.int32)
    image = jax.ShapeDtypeStruct((given.batch, side, side, 3), jnp.uint8)
    batch = {"image": image, "text_ids": text, "text_mask": text}
    began = time.perf_counter()
    lowered = compile_step(config, make_mesh(1), state).lower(state, batch)
    traced = time.perf_counter()
    lowered.compile()
    done = time.perf_counter()
    return {"trace_s": round(traced - began, 2), "compile_s": round(done - traced, 2)}


def main() -> None:
    """Measure each in a process of its own, and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base")
    parser.add_argument("--unroll", type=int, default=1, help="layers per turn of the layer loop")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(compiling(given)))
        return
    imports = {module: importing(module) for module in IMPORTS}
    with tempfile.TemporaryDirectory() as cache:
        settings = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        times = []
        for _ in range(2):
            command = [sys.executable, "-m", "benchmarks.startup", *sys.argv[1:], "--inside"]
            ended = subprocess.run(
                command, env={**os.environ, **settings}, stdout=subprocess.PIPE, check=True
            )
            times.append(json.loads(ended.stdout.splitlines()[-1]))
    line = {
        "benchmark": "startup",
        "preset": given.preset,
        "unroll": given.unroll,
        "import_s": imports,
        "first": times[0],
        "with_cache": times[1],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
