"""Everything worth knowing of an accelerator that is at hand for minutes, in one command.

Runs in this order, as far as `--budget` lasts: the recorded steps of the official code with exact
products (parity), training steps with each saving alone and with all together, larger batches, the
encoders, 384 px. Each part is a process of its own; one that fails or takes too long is named in
the end, and the others go on. Prints a table last, and writes all figures to `--out`.
Needs jax, flax, optax, orbax-checkpoint, jaxtyping and numpy, and pytest for the parity.

Examples:
    python -m benchmarks.on_device --budget=420
    python -m benchmarks.on_device --budget=300 --parts parity step_256 --out=found.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kernels import find_trace, heaviest

ROOT = Path(__file__).parents[1]
BF16 = "fused,dtype=bfloat16"
DOTS = "remat_image=dots,remat_text=dots,remat_fusion=dots"
CUDNN = "attention=cudnn"
FOLDER = "{folder}"  # in a command: where its profile goes
_TAIL = 1500  # characters kept of a part that failed
_SHARE = 0.6  # of what is left that a part may take at most


class Part(NamedTuple):
    """A command, and the least seconds it is worth starting with."""

    command: tuple[str, ...]
    least: int


def _step(batch: int, *variants: str, image_size: int = 256, options: Sequence[str] = ()) -> Part:
    command = ("-m", "benchmarks.train_step", f"--batch={batch}", "--rounds=10")
    sizes = (f"--image_size={image_size}", *options)
    return Part((*command, *sizes, "--variants", *variants), 60 * len(variants))


PARITY = Part(
    (
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir=tests/parity"),
        *("tests/parity/test_features_parity.py", "tests/parity/test_pretraining_parity.py"),
        "tests/parity/test_torchmultimodal.py",
    ),
    60,
)
TOGETHER = f"{BF16},{CUDNN},{DOTS}"
UNROLLED = f"{BF16},{CUDNN},unroll=12"
PARTS = {
    "parity": PARITY,
    "step_64": _step(64, UNROLLED, options=(f"--profile={FOLDER}",)),
    "step_256": _step(256, UNROLLED),
    "encoders": Part(
        ("-m", "benchmarks.encoders", "--dtype=bfloat16", f"--{CUDNN}", "--batch=256"), 30
    ),
    "alone_64": _step(64, "fused", BF16, f"{BF16},{DOTS}", f"{BF16},{CUDNN}", TOGETHER),
    "step_128": _step(128, UNROLLED),
    "step_384px": _step(64, UNROLLED, image_size=384),
}


def run(part: Part, seconds: float, folder: Path) -> dict[str, Any]:
    """Run a part; what it printed as JSON or, if it failed, why."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "PYTHONPATH": str(ROOT),
    }
    if part is PARITY:
        environment["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    profile = folder / "profile"
    command = [sys.executable, *(word.replace(FOLDER, str(profile)) for word in part.command)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than the {seconds:.0f} s that it was given"}
    taken = {"seconds": round(time.monotonic() - began, 1)}
    if done.returncode:
        return {**taken, "failed": (done.stderr.strip() or done.stdout.strip())[-_TAIL:]}
    if part is PARITY:
        lines = done.stdout.strip().splitlines()
        return {**taken, "said": lines[-1], "errors": [line for line in lines if "e-" in line]}
    found = {**taken, **json.loads(done.stdout.strip().splitlines()[-1])}
    if any(FOLDER in word for word in part.command):
        try:
            found["kernels"] = heaviest(find_trace(profile), steps=2)
        except (OSError, ValueError, KeyError) as error:
            found["kernels"] = f"not read: {error}"
    return found


def rows(found: dict[str, dict[str, Any]]) -> list[str]:
    """The table: a line for each training step, each encoder, and each part that failed."""
    lines = [f"{'what':<58}{'step ms':>9}{'per s':>9}{'MFU':>7}{'GiB':>7}"]
    for name, part in found.items():
        if "failed" in part:
            lines.append(f"{name:<58}  FAILED: {part['failed'].splitlines()[-1][:80]}")
        for variant, one in part.get("variants", {}).items():
            what = f"{part['batch']} x {part['image_size']} px {variant}"
            share = "" if one["mfu"] is None else f"{one['mfu']:.1%}"
            lines.append(
                f"{what[:57]:<58}{1e3 * one['step_s']:>9.1f}{one['pairs_per_s']:>9.1f}{share:>7}"
                f"{one['memory_gib']:>7.1f}"
            )
        for encoder, one in part.get("encoders", {}).items():
            share = "" if one["mfu"] is None else f"{one['mfu']:.1%}"
            lines.append(f"{f'{encoder} encoder':<58}{'':>9}{one['per_s']:>9.1f}{share:>7}")
        if "said" in part:
            lines.append(f"{name}: {part['said']}")
    return lines


def measure(parts: Sequence[str], budget: float, out: Path) -> dict[str, dict[str, Any]]:
    """Run the parts that the budget lasts for; everything so far is in `out` after each."""
    ends = time.monotonic() + budget
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in parts:
            left = ends - time.monotonic()
            part = PARTS[name]
            if left < part.least:
                found[name] = {"failed": f"not started: {left:.0f} s were left"}
            else:
                print(f"{name} ...", flush=True)
                found[name] = run(part, max(part.least, _SHARE * left), folder)
            out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=420, help="seconds for all")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("on_device.json"))
    given = parser.parse_args()
    print("\n".join(rows(measure(given.parts, given.budget, given.out))))


if __name__ == "__main__":
    main()
