"""Each documented option of the model compiles for the device that it is meant for.

Run by `make accelerators`, in an environment with jax's CUDA wheels; neither driver nor card is
needed.
"""

import json

import pytest

from tests.helpers.described_devices import printed
from tests.helpers.processes import ROOT

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
    ("encoder", {**CUDNN, "reduce_dtype": "bfloat16"}),
    ("step", {**CUDNN, **DOTS}),
    ("step", {**CUDNN, "unroll": 2}),
]


@pytest.fixture(scope="module")
def programs() -> list[dict]:
    """What became of each of `OPTIONS`, in one process."""
    script = str(ROOT / "tests" / "helpers" / "compile_for_h100.py")
    return json.loads(printed(script, json.dumps(OPTIONS))[-1])


@pytest.mark.parametrize("number", range(len(OPTIONS)), ids=lambda number: str(OPTIONS[number]))
def test_it_compiles_for_an_h100(programs, number):
    program = programs[number]
    assert "error" not in program, program["error"]
    flash = [call for call in program["calls"] if "fmha" in call]
    if OPTIONS[number][1].get("attention") == "cudnn":
        assert {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"} <= set(flash)
    else:
        assert not flash
