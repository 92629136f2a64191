"""The likelihood of answers, written out token by token in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses.vqa import answer_losses, weighted_loss

B, R, T, V = 2, 3, 5, 7
RNG = np.random.default_rng(0)
LOGITS, TEACHER = (2 * RNG.standard_normal((B, R, T, V), np.float32) for _ in "st")
LENGTHS = np.array([[5, 3, 2], [4, 2, 5]])
MASK = (np.arange(T) < LENGTHS[..., None]).astype(np.int32)
IDS = RNG.integers(1, V, (B, R, T), np.int32) * MASK
WEIGHTS = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], np.float32)


def losses(logits=LOGITS, ids=IDS, mask=MASK, teacher=TEACHER, alpha=0.4):
    teacher = None if teacher is None else jnp.asarray(teacher)
    return jax.jit(answer_losses)(*map(jnp.asarray, (logits, ids, mask)), teacher, alpha)


def oracle(alpha):
    total = np.zeros((B, R))
    for question, answer in np.ndindex(B, R):
        for token in range(1, LENGTHS[question, answer]):
            logits, teacher = (x[question, answer, token - 1] for x in (LOGITS, TEACHER))
            hard = np.eye(V)[IDS[question, answer, token]]
            targets = (1 - alpha) * hard + alpha * softmax(np.float64(teacher))
            total[question, answer] -= targets @ log_softmax(np.float64(logits))
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_loss_of_an_answer(alpha):
    np.testing.assert_allclose(losses(alpha=alpha), oracle(alpha), rtol=1e-5)


def test_without_a_teacher_alpha_does_not_count():
    np.testing.assert_allclose(losses(teacher=None), oracle(0.0), rtol=1e-5)


def test_padding_does_not_count():
    behind = MASK == 0
    ids = np.where(behind, 5, IDS)
    # The logits of the last token, and of padding, predict nothing that counts.
    idle = (np.arange(T) >= LENGTHS[..., None] - 1)[..., None]
    logits, teacher = (np.where(idle, 50.0, x).astype(np.float32) for x in (LOGITS, TEACHER))
    np.testing.assert_allclose(losses(logits, ids, teacher=teacher), oracle(0.4), rtol=1e-5)


def test_the_gradient_is_the_distance_from_the_targets():
    def loss(logits, teacher):
        answers = answer_losses(logits, jnp.asarray(IDS), jnp.asarray(MASK), teacher, 0.4)
        return weighted_loss(answers, jnp.asarray(WEIGHTS))

    ours, teachers = jax.jit(jax.grad(loss, argnums=(0, 1)))(
        jnp.asarray(LOGITS), jnp.asarray(TEACHER)
    )
    expected = np.zeros(LOGITS.shape)
    targets = 0.6 * np.eye(V)[IDS[..., 1:]] + 0.4 * softmax(np.float64(TEACHER[..., :-1, :]), -1)
    distance = softmax(np.float64(LOGITS[..., :-1, :]), axis=-1) - targets
    expected[..., :-1, :] = distance * (MASK[..., 1:] * WEIGHTS[..., None])[..., None] / B
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    assert not np.any(teachers)
    assert np.any(ours[0, 2, 0])
    assert not np.any(ours[1, 1:])  # weight 0


def test_answers_are_weighted_and_questions_are_counted():
    answers = RNG.standard_normal((B, R)).astype(np.float32)
    found = weighted_loss(jnp.asarray(answers), jnp.asarray(WEIGHTS))
    expected = (0.5 * answers[0, 0] + 0.3 * answers[0, 1] + 0.2 * answers[0, 2] + answers[1, 0]) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_more_rows_of_padding_change_nothing():
    answers = RNG.standard_normal((B, R)).astype(np.float32)
    more = np.pad(answers, ((0, 0), (0, 4)), constant_values=100)
    weights = np.pad(WEIGHTS, ((0, 0), (0, 4)))
    found, expected = (
        float(weighted_loss(*map(jnp.asarray, pair)))
        for pair in ((more, weights), (answers, WEIGHTS))
    )
    assert found == pytest.approx(expected, rel=1e-6)
