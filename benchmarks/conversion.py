"""Time and memory of converting a checkpoint: `.pth` to Orbax and back.

The checkpoint is of pre-training, with teacher and queues, and filled with random numbers. Each
conversion is a process of its own; what comes back is compared tensor by tensor.

Example:
    python -m benchmarks.conversion --preset=tiny
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from albef_jax.checkpoints.official import state_dict, weights_file
from albef_jax.checkpoints.official.weights_file import OfficialFile
from albef_jax.models import albef
from albef_jax.models.config import PRESETS


def random_checkpoint(preset: str, queue: int) -> OfficialFile:
    """A state dict of that size, float32 noise."""
    config, rng = PRESETS[preset], np.random.default_rng(0)

    def noise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.standard_normal(leaf.shape, np.float32)

    params = jax.eval_shape(partial(albef.init, config), jax.random.key(0))
    teacher = {name: tree for name, tree in params.items() if name not in albef.STUDENT_ONLY}
    features = {
        name: rng.standard_normal((queue, config.embed_dim), np.float32)
        for name in ("image", "text")
    }
    trees = jax.tree.map(noise, params), jax.tree.map(noise, teacher)
    return OfficialFile(state_dict.to_official(*trees, {**features, "pointer": 0}), None, None)


def convert(source: Path, target: Path) -> tuple[float, float]:
    """Seconds, and the largest resident memory in GB, of one conversion.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "tools.convert_checkpoint", str(source), str(target)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Convert there and back, and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base", choices=sorted(PRESETS))
    parser.add_argument("--queue", type=int, default=65_536, help="features in each queue")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first, orbax, second = (Path(folder) / name for name in ("a.pth", "orbax", "b.pth"))
        weights_file.write_weights(first, random_checkpoint(given.preset, given.queue), ".pth")
        there, back = convert(first, orbax), convert(orbax, second)
        one, other = (weights_file.read_weights(path).state for path in (first, second))
        same = one.keys() == other.keys() and all(
            np.array_equal(one[name], other[name]) for name in one
        )
        size = first.stat().st_size
    figures = {
        "benchmark": "conversion",
        **vars(given),
        "pth_gb": round(size / 1e9, 2),
        "to_orbax_s": round(there[0], 1),
        "to_orbax_gb": round(there[1], 2),
        "to_pth_s": round(back[0], 1),
        "to_pth_gb": round(back[1], 2),
        "tensors": len(one),
        "equal": same,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
