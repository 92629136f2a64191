"""What a step is estimated to take: shapes, traced, nothing computed."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import make_mesh
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.train.memory import estimate as estimate_memory
from albef_jax.train.memory import kept_bytes
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import init_state
from albef_jax.train.step import StepConfig


def test_what_a_backward_pass_keeps():
    """The sine's argument for its cosine; weights and inputs are there already."""
    weights = jax.ShapeDtypeStruct((8, 16), jnp.float32)
    x = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    assert kept_bytes(lambda weights, x: jnp.sum(jnp.sin(x @ weights)), weights, x) == 4 * 4 * 16
    assert kept_bytes(lambda weights, x: jnp.sum(x @ weights), weights, x) == 0


@pytest.fixture(scope="module")
def estimate(tiny):
    """The memory of a step of 64 pairs, by changes of its configuration."""
    optimizer = adamw(lambda step: jnp.float32(1e-4), 0.02)

    def estimate(devices=1, fsdp=1, microbatches=1, **model):
        config = StepConfig(
            loss=PretrainingLoss(replace(tiny.config, **model), Recipe(contrast_group=8)),
            optimizer=optimizer,
            learning_rate=lambda step: jnp.float32(1e-4),
            alpha=lambda step: jnp.float32(0.4),
            microbatches=microbatches,
        )
        start = partial(init_state, config.loss.model, optimizer, 64)
        state = jax.eval_shape(start, jax.random.key(0))
        mesh = make_mesh(fsdp, devices=jax.devices()[:devices])
        ids = jax.ShapeDtypeStruct((64, 6), jnp.int32)
        image = jax.ShapeDtypeStruct((64, 16, 16, 3), jnp.uint8)
        batch = {"image": image, "text_ids": ids, "text_mask": ids}
        return estimate_memory(config, mesh, state, batch)

    return estimate


def test_parts_and_devices_divide_activations(estimate):
    whole = estimate()
    assert whole.kept > 100_000
    assert estimate(microbatches=4).kept == pytest.approx(whole.kept / 4, abs=1)
    assert estimate(devices=4).kept == pytest.approx(whole.kept / 4, abs=1)
    assert estimate(microbatches=4).gradients == 2 * whole.gradients
    assert whole.total == whole.state + whole.gradients + whole.kept
    assert "GiB a device" in str(whole)


def test_recomputation_and_short_numbers_keep_less(estimate):
    kept = {
        remat: estimate(remat_image=remat, remat_text=remat, remat_fusion=remat).kept
        for remat in ("none", "dots", "full")
    }
    assert kept["full"] < kept["dots"] < kept["none"]
    assert estimate(dtype="bfloat16").kept < kept["none"]


def test_fsdp_divides_the_state(estimate, monkeypatch):
    monkeypatch.setattr(mesh_module, "MIN_SHARDED_SIZE", 256)
    whole, cut = estimate(devices=4), estimate(devices=4, fsdp=4)
    assert cut.state < 0.4 * whole.state
    assert cut.kept == whole.kept
