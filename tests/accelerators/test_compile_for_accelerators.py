"""The command that compiles for a device that is not there, on a very small model.

Run by `make accelerators`, in an environment with jax's CUDA wheels and libtpu.
"""

import json
from functools import partial

import jax
import pytest

from albef_jax.models import albef
from albef_jax.models.config import preset
from benchmarks.model_changes import changed
from tests.helpers.described_devices import printed

# Wide beside its length, so that padding of the scores' 37 tokens to 40 hardly counts.
SMALL = ["image_width=256", "image_depth=2", "text_width=256", "text_depth=1", "fusion_depth=2"]
SMALL += ["vocab_size=512", "unroll=1", "text_intermediate=1024"]


def found(target: str, *options: str, wheel: str = "jax_cuda13_plugin") -> dict:
    command = ["-m", "benchmarks.compile_for", target, "--preset=tiny", "--pairs=16", "--queue=256"]
    *table, line = printed(*command, *options, "--set", *SMALL, wheel=wheel)
    assert any(row.startswith("image forward") for row in table)
    return json.loads(line)


def test_a_step_for_one_h100(tmp_path):
    step = found("h100", f"--out={tmp_path / 'step.hlo'}")
    assert step["device"] == "NVIDIA H100 80GB HBM3" and step["devices"] == 1
    assert step["fits"] and step["arguments_gib"] + step["temporary_gib"] < step["device_gib"]
    # XLA pads lengths, and the gradient of gathering is a product; neither is counted.
    assert step["gflop_a_pair"] == pytest.approx(step["gflop_a_pair_counted"], rel=0.02)
    assert step["loops_of_unknown_length"] == 0 and step["collectives"] == []
    assert {"image forward", "image backward", "optimizer", "teacher"} <= set(step["by_part"])
    for sums in (step["by_part"], step["by_kind"]):
        assert sum(one["kernels"] for one in sums.values()) == step["kernels"]
        total = sum(one["gb"] for one in sums.values()) / step["pairs"]
        assert total == pytest.approx(step["gb_a_pair"], rel=0.01)
    other = step["by_part"].get("other", {"gb": 0})
    assert other["gb"] < 0.02 * step["gb_a_pair"] * step["pairs"]
    assert 0 < step["bound_mfu"] < step["bound_share_of_reachable"] < 1
    assert len(step["heaviest"]) == 10
    assert all(kernel["source"].startswith("albef_jax/") for kernel in step["heaviest"])
    assert "ENTRY" in (tmp_path / "step.hlo").read_text()


def test_eight_sum_their_gradients():
    step = found("h100x8")
    assert step["devices"] == 8
    sums = [one for one in step["collectives"] if one["kind"] == "all-reduce"]
    assert sum(one["mb"] for one in sums) > 1
    assert sum(one["mb_beside_kernels"] for one in sums) <= sum(one["mb"] for one in sums)


def test_a_step_for_a_tpu():
    step = found("v5e", wheel="libtpu")
    assert step["device"] == "TPU v5 lite" and step["devices"] == 1
    assert step["fits"] and step["loops_of_unknown_length"] == 0
    # Nothing is padded for a TPU's products until they run.
    assert step["gflop_a_pair"] == pytest.approx(step["gflop_a_pair_counted"], rel=0.003)
    assert {"image forward", "image backward", "optimizer", "teacher"} <= set(step["by_part"])


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 8])
def test_between_two_slices_an_eighth_of_the_gradients_goes(fsdp):
    """XLA sums them in each slice of eight first; parameters are gathered in a slice alone."""
    step = found("v5ex16", "--slices=2", f"--fsdp={fsdp}", wheel="libtpu")
    model = changed(preset("tiny", dtype="bfloat16"), SMALL)
    params = jax.eval_shape(partial(albef.init, model), jax.random.key(0))
    gradients = 4 * sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    assert gradients / 8 < step["mb_between_slices"] < (1.1 if fsdp == 1 else 1.5) * gradients / 8
