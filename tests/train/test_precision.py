"""In bfloat16 the state stays float32, and training follows the float32 curve."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, train_step

STEPS = 30
LOSSES = ("loss_itc", "loss_mlm", "loss_itm")


@pytest.fixture(scope="module")
def run(tiny, fresh_state, batch):
    """The same steps on the same pairs, by heart: the last state, and the losses of each step."""

    def run(dtype):
        config = StepConfig(
            loss=PretrainingLoss(
                replace(tiny.config, dtype=dtype), Recipe(contrast_group=4, mlm_probability=0.3)
            ),
            optimizer=adamw(lambda step: jnp.float32(1e-2), 0.02),
            learning_rate=lambda step: jnp.float32(1e-2),
            alpha=lambda step: jnp.float32(0.4),
        )
        step, state, curve = jax.jit(partial(train_step, config)), fresh_state, []
        for _ in range(STEPS):
            state, metrics = step(state, batch._asdict())
            curve.append([float(metrics[name]) for name in LOSSES])
        return state, np.array(curve)

    return run


@pytest.fixture(scope="module")
def precise_and_low(run):
    return run("float32"), run("bfloat16")


def test_the_state_stays_float32(precise_and_low):
    _, (low, _) = precise_and_low
    for name in ("params", "teacher", "opt_state", "queue"):
        kinds = {leaf.dtype.name for leaf in jax.tree.leaves(getattr(low, name))}
        assert kinds <= {"float32", "int32"}, name


def test_the_losses_follow_the_float32_curve(precise_and_low):
    """Masking and negatives are drawn alike, or nearly so: negatives depend on the features."""
    (_, precise), (_, low) = precise_and_low
    assert not np.array_equal(low, precise)
    assert precise[-5:].sum(axis=1).mean() < precise[0].sum()  # something is learnt
    for name, ours, theirs in zip(LOSSES[:2], low.T, precise.T, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=0.03, err_msg=name)
    # A negative drawn otherwise changes ITM of that step; its mean does not.
    assert low[:, 2].mean() == pytest.approx(precise[:, 2].mean(), rel=0.05)
