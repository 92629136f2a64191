"""A batch in parts is the whole batch."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.train.gradient_accumulation import merge, split
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, train_step

# In float64, which leaves nothing of rounding: float32 has an error of up to 2e-6 by itself.
TOLERANCE = 1e-9


@pytest.mark.parametrize("parts, blocks", [(2, 1), (2, 4), (4, 2), (1, 8)])
def test_parts_have_rows_of_every_block(parts, blocks):
    rows = jnp.arange(16)
    cut = split({"x": rows, "y": jnp.stack([rows, -rows], axis=1)}, parts, blocks)
    assert cut["x"].shape == (parts, 16 // parts)
    for part in np.asarray(cut["x"]):
        assert np.bincount(part * blocks // 16).tolist() == [16 // parts // blocks] * blocks
    whole = merge(cut, blocks)
    np.testing.assert_array_equal(whole["x"], rows)
    np.testing.assert_array_equal(whole["y"][:, 1], -rows)


def _precise(leaf):
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf


@pytest.fixture(scope="module")
def run(fresh_state, tiny, batch):
    """One step from the same state, in so many parts; two pairs a group."""
    plain = StepConfig(
        loss=PretrainingLoss(
            replace(tiny.config, dtype="float64"), Recipe(contrast_group=2, mlm_probability=0.3)
        ),
        optimizer=adamw(lambda step: jnp.float32(1e-3), 0.02),
        learning_rate=lambda step: jnp.float32(1e-3),
        alpha=lambda step: jnp.float32(0.4),
    )

    def run(parts, shards=1):
        config = replace(plain, microbatches=parts, shards=shards)
        if config.loss.model.dropout:
            raise AssertionError("parts have dropout of their own")
        with jax.enable_x64(True):
            state = jax.tree.map(_precise, fresh_state)
            return jax.jit(partial(train_step, config))(state, batch._asdict())

    return run


@pytest.fixture(scope="module")
def whole(run):
    return run(1)


@pytest.mark.parametrize("parts, shards", [(2, 1), (4, 1), (2, 2)])
def test_a_step_in_parts(run, whole, parts, shards):
    state, metrics = run(parts, shards)
    assert metrics.keys() == whole[1].keys()
    for name, expected in whole[1].items():
        assert float(metrics[name]) == pytest.approx(float(expected), rel=TOLERANCE), name

    # Adam divides by the gradient's size: moments, not parameters, show what was computed.
    moments, expected = (tree.opt_state[0].mu for tree in (state, whole[0]))
    # Gradients of key biases are zero but for rounding: softmax takes no notice of them.
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    compare = partial(np.testing.assert_allclose, rtol=TOLERANCE, atol=1e-12 * largest)
    jax.tree.map(compare, moments, expected)
    jax.tree.map(compare, state.queue, whole[0].queue)


def test_the_parts_have_unequal_numbers_of_masked_words(whole, batch):
    """So that a plain mean over parts would be wrong."""
    lengths = batch.text_mask.sum(axis=1)
    assert lengths[:4].sum() != lengths[4:].sum()
    assert float(whole[1]["loss_mlm"]) > 0
