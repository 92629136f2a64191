"""Classification of sentences: which images count, and the distilled loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses.classification import distilled_loss
from albef_jax.models.classifiers import entailment_logits, nlvr_logits
from albef_jax.models.primitives import normalize
from albef_jax.models.two_image_fusion import init_pair_encoder
from tests.helpers.tiny_model import drawn_like

RNG = np.random.default_rng(0)
LOGITS, TEACHER = (2 * RNG.standard_normal((6, 3), np.float32) for _ in "st")
LABELS = np.array([0, 2, 1, 1, 0, 2], np.int32)
loss_of = jax.jit(distilled_loss)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_loss_mixes_labels_and_teacher(alpha):
    found = loss_of(*map(jnp.asarray, (LOGITS, LABELS, TEACHER)), alpha)
    targets = (1 - alpha) * np.eye(3)[LABELS] + alpha * softmax(np.float64(TEACHER), axis=1)
    expected = -np.mean(np.sum(targets * log_softmax(np.float64(LOGITS), axis=1), axis=1))
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
    accuracy = np.mean(LOGITS.argmax(axis=1) == LABELS)
    assert float(found["accuracy"]) == pytest.approx(accuracy)
    assert 0 < accuracy < 1


def test_without_a_teacher_alpha_does_not_count():
    arrays = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    found = loss_of(*arrays, None, 0.4)
    expected = -np.mean(log_softmax(np.float64(LOGITS), axis=1)[np.arange(6), LABELS])
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
    hard = loss_of(*arrays, jnp.asarray(TEACHER), 0.0)
    assert float(found["loss"]) == pytest.approx(float(hard["loss"]), rel=1e-6)


def test_the_gradient_is_the_distance_from_the_targets():
    def loss(logits, teacher):
        return distilled_loss(logits, jnp.asarray(LABELS), teacher, 0.4)["loss"]

    ours, teachers = jax.jit(jax.grad(loss, argnums=(0, 1)))(
        jnp.asarray(LOGITS), jnp.asarray(TEACHER)
    )
    targets = 0.6 * np.eye(3)[LABELS] + 0.4 * softmax(np.float64(TEACHER), axis=1)
    expected = (softmax(np.float64(LOGITS), axis=1) - targets) / 6
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    assert not np.any(teachers)


def test_huge_logits_are_no_nan():
    logits = jnp.array([[1e4, 0.0, -1e4]])
    found = loss_of(logits, jnp.array([2]), logits, 0.4)
    assert float(found["loss"]) == pytest.approx(0.6 * 2e4, rel=1e-5)


@pytest.fixture(scope="module")
def params(tiny):
    """Both tasks' modules in one tree."""
    pair_encoder = drawn_like(partial(init_pair_encoder, tiny.config), 1)
    kernels = {"hidden": (24, 24), "out": (24, 3)}
    head = {
        name: {
            "kernel": jnp.asarray(RNG.standard_normal(shape, np.float32)),
            "bias": jnp.asarray(RNG.standard_normal(shape[1]), jnp.float32),
        }
        for name, shape in kernels.items()
    }
    return {**tiny.params, "pair_encoder": pair_encoder, "cls_head": head}


@pytest.fixture(scope="module")
def judge(tiny, params, batch):
    """Four texts judged with two images each, or the left one alone, as `[4, 2, H, W, 3]`."""
    functions = {"entailment": entailment_logits, "nlvr": nlvr_logits}
    compiled = {name: jax.jit(partial(one, tiny.config)) for name, one in functions.items()}

    def judge(task, image, text_ids, text_mask=batch.text_mask[:4]):
        image = image if task == "nlvr" else image[:, 0]
        return np.asarray(compiled[task](params, *map(jnp.asarray, (image, text_ids, text_mask))))

    return judge


@pytest.fixture(scope="module")
def images(batch):
    return np.asarray(normalize(jnp.asarray(batch.image))).reshape(4, 2, 16, 16, 3)


@pytest.mark.parametrize("task", ["entailment", "nlvr"])
def test_padding_is_not_seen(task, judge, images, batch):
    ids, mask = batch.text_ids[:4], batch.text_mask[:4]
    plain = judge(task, images, ids)
    rubbish = judge(task, images, np.where(mask == 1, ids, 77))
    np.testing.assert_allclose(rubbish, plain, rtol=1e-5, atol=1e-5)
    unmasked = judge(task, images, ids, np.ones_like(mask))
    assert np.abs(unmasked - plain).max() > 1e-3


@pytest.mark.parametrize("task, side", [("entailment", 0), ("nlvr", 0), ("nlvr", 1)])
def test_texts_are_judged_by_their_own_images(task, side, judge, images, batch):
    ids = batch.text_ids[:4]
    other = images.copy()
    other[2, side] = 0
    moved = np.abs(judge(task, other, ids) - judge(task, images, ids)).max(axis=1)
    assert (moved > 1e-3).tolist() == [False, False, True, False]


def test_the_order_of_two_images_matters(judge, images, batch):
    ids = batch.text_ids[:4]
    swapped = judge("nlvr", images[:, ::-1], ids)
    assert np.abs(swapped - judge("nlvr", images, ids)).max(axis=1).min() > 1e-3
