"""Each documented option of the model compiles for the device that it is meant for.

Run by `make accelerators`, in an environment with jax's CUDA wheels; neither driver nor card is
needed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BFLOAT16 = {"dtype": "bfloat16"}
CUDNN = {**BFLOAT16, "attention": "cudnn"}
DOTS = {f"remat_{tower}": "dots" for tower in ("image", "text", "fusion")}
OPTIONS: list[tuple[str, dict]] = [
    ("encoder", {}),
    ("encoder", BFLOAT16),
    ("encoder", CUDNN),
    ("encoder", {**CUDNN, "image_size": 384}),
    ("encoder", {**CUDNN, "image_size": 240}),  # an even number of tokens, by itself
    ("encoder", {**CUDNN, "remat_image": "dots"}),
    ("encoder", {**CUDNN, "remat_image": "full", "unroll": 2}),
    ("step", {**CUDNN, **DOTS}),
]


@pytest.fixture(scope="module")
def programs() -> list[dict]:
    """What became of each of `OPTIONS`, in one process."""
    if importlib.util.find_spec("jax_cuda13_plugin") is None:
        pytest.skip("needs jax's CUDA wheels: make accelerators")
    script = ROOT / "tests" / "helpers" / "compile_for_h100.py"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, script, json.dumps(OPTIONS)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(OPTIONS)), ids=lambda number: str(OPTIONS[number]))
def test_it_compiles_for_an_h100(programs, number):
    program = programs[number]
    assert "error" not in program, program["error"]
    flash = [call for call in program["calls"] if "fmha" in call]
    if OPTIONS[number][1].get("attention") == "cudnn":
        assert {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"} <= set(flash)
    else:
        assert not flash
