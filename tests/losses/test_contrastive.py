"""ITC against paper equations 1, 2 and 6 in float64, with explicit `[B, G + Q]` targets."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses.contrastive import Contrast, Positives, itc_loss, same_image, similarities

B, Q, E, GROUP = 8, 10, 6, 4
TEMPERATURE = 0.07


def unit(seed, rows):
    x = np.random.default_rng(seed).standard_normal((rows, E))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


IMAGE, TEXT, IMAGE_M, TEXT_M = (unit(seed, B) for seed in range(4))
QUEUE_IMAGE, QUEUE_TEXT = unit(4, Q), unit(5, Q)


def loss(image, text, temperature, groups, rows=slice(None), alpha=0.4, positives=None):
    """Ours, for some rows of the batch."""
    image_m, text_m = jnp.asarray(IMAGE_M[rows]), jnp.asarray(TEXT_M[rows])

    def contrast(image, text):
        return Contrast(
            similarities(image, text_m, jnp.asarray(QUEUE_TEXT), temperature, groups),
            similarities(text, image_m, jnp.asarray(QUEUE_IMAGE), temperature, groups),
        )

    image, text = jnp.asarray(image[rows]), jnp.asarray(text[rows])
    return itc_loss(contrast(image, text), contrast(image_m, text_m), alpha, positives)


def own_pair(rows):
    """The hard targets of pre-training."""
    return np.eye(GROUP, GROUP + Q)


def logits_and_targets(temperature, alpha, hard=own_pair):
    """One group of four after the other, one direction after the other, `[GROUP, GROUP + Q]`."""
    for start in range(0, B, GROUP):
        rows = slice(start, start + GROUP)
        for query, query_m, keys, queue in (
            (IMAGE, IMAGE_M, TEXT_M, QUEUE_TEXT),
            (TEXT, TEXT_M, IMAGE_M, QUEUE_IMAGE),
        ):
            columns = np.concatenate([keys[rows], queue]).astype(np.float64)
            student = query[rows].astype(np.float64) @ columns.T / temperature
            teacher = query_m[rows].astype(np.float64) @ columns.T / temperature
            yield student, alpha * softmax(teacher, axis=1) + (1 - alpha) * hard(rows)


def oracle(temperature, alpha, hard=own_pair):
    return -np.sum(
        [
            (targets * log_softmax(student, axis=1)).sum()
            for student, targets in logits_and_targets(temperature, alpha, hard)
        ]
    ) / (2 * B)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_loss_is_the_papers(alpha):
    found = loss(IMAGE, TEXT, jnp.float32(TEMPERATURE), B // GROUP, alpha=alpha)
    assert float(found) == pytest.approx(oracle(TEMPERATURE, alpha), rel=1e-5)


def test_a_group_does_not_see_the_others():
    temperature = jnp.float32(TEMPERATURE)
    together = loss(IMAGE, TEXT, temperature, 2)
    apart = [loss(IMAGE, TEXT, temperature, 1, slice(start, start + 4)) for start in (0, 4)]
    assert float(together) == pytest.approx(float(np.mean(apart)), rel=1e-6)
    assert float(loss(IMAGE, TEXT, temperature, 1)) != pytest.approx(float(together), rel=1e-3)


def test_similarities_are_scaled_cosines_of_the_group_and_the_queue():
    found = similarities(*map(jnp.asarray, (IMAGE, TEXT_M, QUEUE_TEXT)), jnp.float32(0.5), 2)
    assert (found.group.shape, found.queue.shape) == ((2, 4, 4), (2, 4, Q))
    assert float(found.group[1, 2, 3]) == pytest.approx(IMAGE[6] @ TEXT_M[7] / 0.5, rel=1e-5)
    assert float(found.queue[1, 2, 9]) == pytest.approx(IMAGE[6] @ QUEUE_TEXT[9] / 0.5, rel=1e-5)


def slope(temperature, alpha):
    """The loss's derivative with fixed targets: sum over (model - targets) * d logits."""
    return np.sum(
        [
            ((softmax(student, axis=1) - targets) * -student / temperature).sum()
            for student, targets in logits_and_targets(temperature, alpha)
        ]
    ) / (2 * B)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_the_temperature_gets_no_gradient_through_the_targets(alpha):
    """The teacher's similarities are divided by it too, but they are targets."""
    found = jax.grad(lambda t: loss(IMAGE, TEXT, t, 2, alpha=alpha))(jnp.float32(TEMPERATURE))
    assert float(found) == pytest.approx(slope(TEMPERATURE, alpha), rel=1e-4)


# Images with one caption, with two in a group, with one in each group, and some in the queue.
IMAGE_ID = np.array([3, 7, 3, 8, 7, 9, 9, 9], np.int32)
QUEUE_ID = np.array([-100, -100, 9, 1, 3, 2, 7, 7, 1, -100], np.int32)


def shared(rows):
    """Hard targets shared evenly by all keys of the image."""
    own, ids = IMAGE_ID[rows], np.concatenate([IMAGE_ID[rows], QUEUE_ID])
    same = (own[:, None] == ids).astype(float)
    return same / same.sum(axis=1, keepdims=True)


def captions(image_id=IMAGE_ID):
    return same_image(jnp.asarray(image_id), jnp.asarray(QUEUE_ID), B // GROUP)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_captions_of_one_image_share_the_hard_target(alpha):
    temperature = jnp.float32(TEMPERATURE)
    found = loss(IMAGE, TEXT, temperature, B // GROUP, alpha=alpha, positives=captions())
    expected = oracle(TEMPERATURE, alpha, shared)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    if alpha < 1:
        assert expected != pytest.approx(oracle(TEMPERATURE, alpha), rel=1e-3)


def test_images_of_one_caption_each_are_pretrainings_case():
    apart = captions(np.arange(B, dtype=np.int32) + 50)
    temperature = jnp.float32(TEMPERATURE)
    found, expected = (
        float(loss(IMAGE, TEXT, temperature, 2, positives=positives)) for positives in (apart, None)
    )
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_same_image_in_the_group_and_in_the_queue():
    found = captions()
    for group, row in np.ndindex(2, GROUP):
        own = IMAGE_ID[GROUP * group + row]
        near = IMAGE_ID[GROUP * group : GROUP * group + GROUP]
        assert found.group[group, row].tolist() == (near == own).tolist()
        assert found.queue[group, row].tolist() == (own == QUEUE_ID).tolist()
    assert found.group.dtype == found.queue.dtype == jnp.bool_
    assert isinstance(found, Positives)


def test_shapes_are_checked_while_tests_run():
    """That conftest.py's hook is on: a queue of another width."""
    with pytest.raises(jaxtyping.TypeCheckError, match="queue"):
        similarities(jnp.ones((8, 6)), jnp.ones((8, 6)), jnp.ones((9, 5)), jnp.float32(1), 2)
