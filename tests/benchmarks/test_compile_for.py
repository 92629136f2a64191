"""What the command refuses before it compiles for minutes, and its table of devices."""

import math
import re
import sys

import pytest

from albef_jax.models.config import preset
from benchmarks import compile_for
from benchmarks.devices import DEVICES, description, target, topology


def refused(monkeypatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["compile_for", *words])
    with pytest.raises(SystemExit) as ended:
        compile_for.main()
    message = str(ended.value)
    assert message.startswith("error: ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["h1000"], "no target h1000: choose one of a100, h100, h200, v5e, v5p, v6e"),
        (["h100x"], "no target h100x"),
        (["h100x0"], "no target h100x0"),
        (["h100x12"], "choose a multiple"),
        (["v5ex3"], "slices have 1, 4, 8, 16"),
        (["v5p", "--set", "attention=cudnn"], "v5p has no cuDNN"),
        (["h100", "--set", "widht=3"], "the model: widht=3: no option=value of the model, which"),
        (["h100", "--set", "attention=cudnn", "dtype=float32"], "needs dtype=bfloat16"),
        (["h100", "--image_size=250"], "image_size=250: must be a multiple of patch_size=16"),
        (["h100", "--pairs=0"], "--pairs=0"),
        (["h100", "--fsdp=0"], "--fsdp=0: must be at least 1"),
        (["h100", "--length=513"], "max_positions=512"),
        (["h100", "--pairs=96"], "--pairs=96: no multiple of --group=64"),
        (["h100x8", "--queue=1000"], "no multiple of the 512 pairs"),
        (["h100x8", "--fsdp=3"], "--fsdp=3: does not divide 8 devices"),
        (["v5ex16", "--slices=2", "--fsdp=16"], "--fsdp=16: does not divide 8 devices of a slice"),
        (["v5ex16", "--slices=3"], "--slices=3: v5ex16 does not consist of so many TPU slices"),
        (["h100x16", "--slices=2"], "--slices=2: h100x16 does not consist of so many TPU slices"),
        (["h100", "--out=nowhere/step.hlo"], "there is no folder nowhere"),
    ],
)
def test_what_does_not_fit_together_is_one_line(words, said, monkeypatch):
    assert said in refused(monkeypatch, *words)


@pytest.mark.parametrize(("name", "wheels"), [("h100", "CUDA wheels"), ("v5e", "libtpu")])
def test_without_the_wheels_it_names_the_remedy(name, wheels, monkeypatch):
    monkeypatch.setattr(compile_for.importlib.util, "find_spec", lambda name: None)
    message = refused(monkeypatch, name)
    assert wheels in message and "make accelerators" in message


def test_targets():
    assert target("h100") == ("h100", 1)
    assert target("a100x8") == ("a100", 8)
    assert target("h200x64") == ("h200", 64)
    assert target("v6ex256") == ("v6e", 256)
    assert topology("h200", 8) == "1x1x8" and topology("h200", 64) == "1x8x8"
    assert topology("v5e", 1) == "v5e:2x2" and topology("v5p", 16) == "v5p:2x2x4"
    for device in DEVICES.values():
        for count, layout in (device.slices or {}).items():
            assert math.prod(int(side) for side in layout.split("x")) == max(4, count)


@pytest.mark.parametrize("name", ["a100", "h100", "h200"])
def test_the_compiler_and_the_bound_know_the_same_device(name):
    text = description(name)
    memory = int(re.search(r"device_memory_size: (\d+)", text).group(1))
    maker = float(re.search(r"memory_bandwidth: (\d+)", text).group(1))
    assert DEVICES[name].memory == memory
    assert 0.85 * maker < DEVICES[name].bandwidth < maker


ONE = {"kernels": 3, "gflop": 2.0, "gb": 0.5, "ms": 0.25}
FOUND = {
    "by_part": {"image forward": ONE},
    "by_kind": {"product": ONE},
    "heaviest": [{"kernel": "fusion", "part": "head", "source": "albef_jax/models/a.py:3", **ONE}],
    "collectives": [
        {"kind": "all-reduce", "dtypes": ["f32"], "times": 2, "mb": 94.0, "mb_beside_kernels": 0.0}
    ],
    "mb_between_slices": 105.0,
    "fits": False,
    "arguments_gib": 3.25,
    "temporary_gib": 90.0,
    "device_gib": 79.1,
    "gflop_a_pair": 240.0,
    "gflop_a_pair_counted": 247.8,
    "bound_pairs_per_s": 612.8,
    "bound_share_of_reachable": 0.19,
    "kernels": 5804,
    "loops_of_unknown_length": 1,
    "speeds_measured": False,
}


def test_the_table_and_the_warnings():
    table = "\n".join(compile_for.rows(FOUND))
    assert "DOES NOT FIT in 79.1 GiB" in table
    assert "2 x all-reduce of f32: 94.0 MB, of which 0.0 MB beside kernels" in table
    assert "sent to other slices: 105.0 MB" in table
    assert "head  albef_jax/models/a.py:3" in table
    said = compile_for.warnings(FOUND, preset("base"))
    assert len(said) == 3 and "96.9%" in said[0]
    more = {**FOUND, "gflop_a_pair": 260.0, "speeds_measured": True, "loops_of_unknown_length": 0}
    assert compile_for.warnings(more, preset("base", remat_image="dots")) == []
    assert len(compile_for.warnings(more, preset("base"))) == 1
