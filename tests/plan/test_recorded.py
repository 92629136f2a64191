"""Recorded results, as they are read: of made-up files, and of our own."""

import json

import pytest

from albef_jax.distributed.accelerators import OFFERS
from albef_jax.observability.flops import peak_of
from albef_jax.plan.recorded import PLAIN, closest, compiled, cores, counterpart, measured
from albef_jax.plan.speed import speed
from tests.helpers.pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"
FAST = PLAIN | {"dtype": "bfloat16", "remat_image": "dots"}
FLOPS = 250e9
H100, A100 = OFFERS["h100"].kind, OFFERS["a100"].kind


def step(kind, mfu, batch=64, **more):
    variant = {"pairs_per_s": mfu * peak_of(kind) / FLOPS, "mfu": mfu}
    variants = {"fused,dtype=bfloat16,remat_image=dots": variant, "plain": variant}
    return {
        "preset": "base",
        "image_size": 256,
        "batch": batch,
        "microbatches": 1,
        "device": f"1 x {kind}",
        "variants": variants,
        **more,
    }


def program(kind, mfu, pairs=64):
    return {
        "preset": "base",
        "image_size": 256,
        "set": ["remat_image=dots"],
        "device": kind,
        "devices": 8,
        "pairs": pairs,
        "bound_pairs_per_s": 8 * mfu * peak_of(kind) / FLOPS,
        "bound_mfu": mfu,
    }


@pytest.fixture
def folder(tmp_path):
    def write(name, content):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    write("train_step_x", step(H100, 0.2))
    write("train_step_small", step(H100, 0.9, preset="small"))
    write("train_step_parts", step(H100, 0.9, microbatches=2))
    write("on_device_y", {"a": step("NVIDIA H200", 0.25, batch=256), "b": {"failed": "slow"}})
    write("compile_for_x", [program(H100, 0.4), program(H100, 0.5, pairs=128)])
    return tmp_path


def test_what_a_card_reached(folder):
    found = measured(folder)
    assert {(one.kind, one.pairs, one.file) for one in found} == {
        (H100, 64, "train_step_x.json"),
        ("NVIDIA H200", 256, "on_device_y.json"),
    }
    assert all(one.setting == FAST for one in found)


def test_what_kernels_allow(folder):
    found = compiled(folder)
    assert [one.setting for one in found] == [FAST, FAST]  # bfloat16 by default there
    assert found[0].pairs_per_s == pytest.approx(0.4 * 989e12 / FLOPS)


def test_the_closest_is_of_the_same_device_then_comparable_then_of_the_same_size(folder):
    found, programs = measured(folder), compiled(folder)
    assert closest(found, FAST, "NVIDIA H200", 64, programs).pairs == 256
    assert closest(found, FAST, A100, 256, programs).kind == H100
    assert closest(found, FAST, A100, 256).kind == "NVIDIA H200"
    assert closest(found, PLAIN, H100, 64) is None
    assert counterpart(found[0], programs) is programs[0]


def test_three_figures_follow_from_the_records(folder):
    found = speed(FLOPS, FAST, A100, 4, 64, folder)
    peak = 4 * 312e12 / FLOPS
    assert found.at_peak.pairs_per_s == pytest.approx(peak)
    assert found.bound.pairs_per_s == pytest.approx(0.4 * peak)
    assert found.expected.pairs_per_s == pytest.approx(0.2 * peak)
    assert found.reached == pytest.approx(0.5)
    assert found.bound.assumed and found.expected.source.startswith("assumed: ")
    own = speed(FLOPS, FAST, H100, 1, 64, folder)
    assert not own.expected.assumed and own.expected.source.startswith("measured, 64 pairs")
    assert "train_step_x.json" in own.expected.source


def test_a_bound_of_another_measurement_is_not_shown(folder):
    found = speed(FLOPS, FAST, "NVIDIA H200", 1, 64, folder)
    assert found.expected.share == 0.25 and found.bound is None and found.reached is None


def test_what_was_never_measured_has_no_figure(folder):
    found = speed(FLOPS, PLAIN, H100, 1, 64, folder)
    assert found.expected is None and found.bound is None
    with pytest.raises(ValueError, match="its peak is not in"):
        speed(FLOPS, PLAIN, "TPU v99", 1, 64, folder)


def test_without_records_there_is_arithmetic(tmp_path):
    found = speed(FLOPS, FAST, H100, 2, 64, tmp_path)
    assert found.expected is None and found.at_peak.pairs_per_s == pytest.approx(2 * 989e12 / FLOPS)
    assert cores(tmp_path) is None


def test_our_own_records_are_read():
    kinds = {one.kind for one in measured(RESULTS)}
    assert kinds == {OFFERS["h100"].kind, OFFERS["h200"].kind}
    assert {one.kind for one in compiled(RESULTS)} >= {H100}
    assert cores(RESULTS)[0]["per_s_and_core"]["whole"] > 100
