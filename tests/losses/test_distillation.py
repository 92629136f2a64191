"""Against the definition, in float64: cross-entropy with an explicit matrix of targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses.distillation import logsumexp_blocks, mixed_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((5, 9), np.float32)
TEACHER = 3 * RNG.standard_normal((5, 9), np.float32)
HARD = np.array([0, 3, 8, 3, 5])


def cut(x, widths):
    return jnp.split(jnp.asarray(x), np.cumsum(widths)[:-1], axis=-1)


def targets(alpha):
    return (1 - alpha) * np.eye(9)[HARD] + alpha * softmax(TEACHER.astype(np.float64), axis=1)


def ours(logits, alpha, widths=(9,), teacher=TEACHER):
    hard = jnp.take_along_axis(jnp.asarray(logits), HARD[:, None], axis=1)[:, 0]
    return mixed_cross_entropy(cut(logits, widths), hard, cut(teacher, widths), alpha)


@pytest.mark.parametrize("widths", [(9,), (4, 5), (1, 6, 2)])
def test_logsumexp_over_blocks(widths):
    expected = np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(logsumexp_blocks(cut(LOGITS, widths)), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("widths", [(9,), (4, 5), (1, 6, 2)])
def test_cross_entropy(alpha, widths):
    expected = -(targets(alpha) * log_softmax(LOGITS.astype(np.float64), axis=1)).sum(axis=1)
    np.testing.assert_allclose(ours(LOGITS, alpha, widths), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_gradient_is_that_of_the_divergence(alpha):
    """KL(targets || model), summed term by term; 0 log 0 is 0."""
    fixed = jnp.asarray(targets(alpha), jnp.float32)

    def divergence(logits):
        terms = jnp.where(fixed > 0, jnp.log(jnp.where(fixed > 0, fixed, 1.0)), 0.0)
        return jnp.sum(fixed * (terms - jax.nn.log_softmax(logits)))

    found = jax.grad(lambda logits: jnp.sum(ours(logits, alpha, (4, 5))))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(found, jax.grad(divergence)(jnp.asarray(LOGITS)), atol=2e-6)
    # And in closed form: model minus targets.
    closed = softmax(LOGITS.astype(np.float64), axis=1) - targets(alpha)
    np.testing.assert_allclose(found, closed, atol=2e-6)


def test_no_gradient_flows_into_the_teacher():
    gradient = jax.grad(lambda teacher: jnp.sum(ours(LOGITS, 0.4, (4, 5), teacher)))
    assert not np.any(gradient(jnp.asarray(TEACHER)))


def test_large_logits_do_not_overflow():
    """Temperature 0.001 makes logits of 1000."""
    found = ours(LOGITS * 1000, 0.4, (4, 5), TEACHER * 1000)
    teacher = softmax(TEACHER.astype(np.float64) * 1000, axis=1)
    mixture = 0.6 * np.eye(9)[HARD] + 0.4 * teacher
    expected = -(mixture * log_softmax(LOGITS.astype(np.float64) * 1000, axis=1)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
