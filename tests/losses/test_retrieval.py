"""Fine-tuning for retrieval against separate passes, with targets and negatives written out."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses import retrieval
from albef_jax.losses.alignment import Alignment, Keys
from albef_jax.losses.base import LossInputs, Random
from albef_jax.losses.contrastive import Contrast, Positives, Similarities
from albef_jax.losses.matching import Negatives, draw_noise
from albef_jax.losses.queue import Queue
from albef_jax.losses.retrieval import Inputs
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from tests.helpers.draws import draw_negatives

GROUP, B = 4, 8
RNG = np.random.default_rng(0)
# Two captions of image 5 in the first group, and one in the second; three of image 9.
IMAGE_ID = np.array([5, 7, 5, 8, 9, 9, 5, 9], np.int32)
QUEUE_ID = np.array([9, 5, 1, 2, 5, 5, -100, -100, -100, 8, 4, 3], np.int32)
SAME = IMAGE_ID[:, None] == IMAGE_ID
NEGATIVES = Negatives(
    jnp.array([[1, 0, 3, 2], [2, 2, 3, 2]]),
    jnp.array([[3, 2, 1, 1], [2, 2, 0, 2]]),
    jnp.ones((2, 4), bool),
)
IN_BATCH = np.array([[0], [4]])  # group position to batch position


def unit(rows):
    x = RNG.standard_normal((rows, 8), np.float32)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


KEYS = Keys(unit(12), unit(12), jnp.asarray(QUEUE_ID))


class Everything(NamedTuple):
    student: retrieval.Student
    teacher: retrieval.Teacher
    losses: dict
    gradients: dict  # of the student
    teacher_gradients: dict


@pytest.fixture(scope="module")
def teacher_tree(tiny):
    """Another set of weights, so that student and teacher cannot be mixed up."""
    teacher = albef.teacher_params(tiny.params)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) * np.float32(1.2)), teacher)


@pytest.fixture(scope="module")
def student_tree(tiny):
    return {name: tree for name, tree in tiny.params.items() if name != "mlm_head"}


@pytest.fixture(scope="module")
def inputs(batch):
    image = normalize(jnp.asarray(batch.image))
    return Inputs(image, *map(jnp.asarray, (batch.text_ids, batch.text_mask, IMAGE_ID)))


@pytest.fixture(scope="module")
def run(tiny, student_tree, teacher_tree, inputs):
    """The objective as a jitted function of alpha, negatives and image ids."""

    def loss(params, teacher_params, alpha, negatives, inputs):
        teacher = retrieval.teacher_forward(tiny.config, teacher_params, inputs, None)
        student = retrieval.student_forward(
            tiny.config, GROUP, params, inputs, teacher, KEYS, negatives, None
        )
        losses = retrieval.losses(student, alpha)
        return losses["loss"], (student, teacher, losses)

    @jax.jit
    def run(*decisions, image_id):
        given = inputs._replace(image_id=image_id)
        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        gradients, outputs = gradient(student_tree, teacher_tree, *decisions, given)
        return Everything(*outputs, *gradients)

    return lambda alpha=0.4, negatives=NEGATIVES, image_id=IMAGE_ID: jax.device_get(
        run(jnp.float32(alpha), negatives, image_id=jnp.asarray(image_id))
    )


@pytest.fixture(scope="module")
def draw(tiny, student_tree, inputs, full):
    """Negatives by random key and image ids, and the similarities they are drawn by."""

    @partial(jax.jit, static_argnums=2)
    def draw(key, image_id, hard):
        teacher = jax.tree.map(jnp.asarray, full.teacher)
        given = inputs._replace(image_id=image_id)
        noise = draw_noise(key, B // GROUP, GROUP)
        student = retrieval.student_forward(
            tiny.config, GROUP, student_tree, given, teacher, KEYS, noise, None, hard
        )
        return student.alignment.negatives, student.alignment.contrast

    return lambda seed, image_id=IMAGE_ID, hard=True: draw(
        jax.random.key(seed), jnp.asarray(image_id), hard
    )


@pytest.fixture(scope="module")
def full(run):
    return run()


@pytest.fixture(scope="module")
def separate(tiny, student_tree, teacher_tree, inputs):
    """The official passes, each by itself: match logits, and features of both models."""
    config, mask = tiny.config, inputs.text_mask
    negative_image, negative_text = (
        (np.asarray(index) + IN_BATCH).reshape(-1) for index in NEGATIVES[:2]
    )

    def encoded(params):
        image = albef.encode_image(config, params, inputs.image)
        text = albef.encode_text(config, params, inputs.text_ids, mask)
        return image, text, (albef.image_feature(params, image), albef.text_feature(params, text))

    @jax.jit
    def passes(params, teacher):
        image, text, features = encoded(params)
        pairs = (
            (text, mask, image),
            (text, mask, image[negative_image]),
            (text[negative_text], mask[negative_text], image),
        )
        matches = [
            albef.itm_logits(params, albef.fuse(config, params, t[:, None], m[:, None], i)[:, 0, 0])
            for t, m, i in pairs
        ]
        return matches, features, encoded(teacher)[2]

    outputs = passes(student_tree, teacher_tree)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), outputs)


def contrast_oracle(features, teacher, temperature, alpha, image_id=IMAGE_ID):
    """One query after the other; its hard target is shared by all keys of its image."""
    total = 0.0
    for mine, other, queue in ((0, 1, KEYS.text), (1, 0, KEYS.image)):
        for row in range(B):
            group = slice(row // GROUP * GROUP, row // GROUP * GROUP + GROUP)
            columns = np.concatenate([teacher[other][group], np.asarray(queue, np.float64)])
            ids = np.concatenate([image_id[group], QUEUE_ID])
            hard = (ids == image_id[row]) / np.sum(ids == image_id[row])
            soft = softmax(columns @ teacher[mine][row] / temperature)
            targets = alpha * soft + (1 - alpha) * hard
            total -= targets @ log_softmax(columns @ features[mine][row] / temperature)
    return total / (2 * B)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_contrast_loss(tiny, run, separate, alpha):
    _, features, teacher = separate
    expected = contrast_oracle(features, teacher, float(tiny.params["temperature"]), alpha)
    assert float(run(alpha).losses["loss_itc"]) == pytest.approx(expected, rel=1e-5)


def test_other_captions_of_a_image_are_right_answers(run, full, separate, tiny):
    _, features, teacher = separate
    apart = np.arange(B, dtype=np.int32) + 50
    found = float(run(image_id=apart).losses["loss_itc"])
    temperature = float(tiny.params["temperature"])
    assert found == pytest.approx(
        contrast_oracle(features, teacher, temperature, 0.4, apart), rel=1e-5
    )
    assert found != pytest.approx(float(full.losses["loss_itc"]), rel=1e-3)


def test_matching_loss_and_accuracy(full, separate):
    rows, labels = np.concatenate(separate[0]), np.repeat([1, 0, 0], B)
    expected = -np.mean(log_softmax(rows, axis=1)[np.arange(3 * B), labels])
    assert float(full.losses["loss_itm"]) == pytest.approx(expected, rel=1e-5)
    accuracy = np.mean(rows.argmax(axis=1) == labels)
    assert float(full.losses["itm_accuracy"]) == pytest.approx(accuracy)
    assert int(full.losses["pairs_without_negative"]) == 0


def test_the_loss_is_the_sum(full):
    parts = [full.losses[f"loss_{name}"] for name in ("itc", "itm")]
    assert float(full.losses["loss"]) == pytest.approx(float(np.sum(parts)), rel=1e-6)


def test_every_parameter_is_trained(full):
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(full.gradients)
        if np.abs(leaf).max() < 1e-6
    ]
    assert all("['key']['bias']" in name for name in still), still


def test_nothing_trains_the_teacher(full):
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(full.teacher_gradients))


def test_negatives_are_never_of_the_same_image(draw):
    """By forty keys, as places in the batch."""
    drawn = [draw(seed)[0] for seed in range(40)]
    assert all(np.all(one.valid) for one in drawn)
    for name in ("image", "text"):
        places = np.stack([np.ravel(getattr(one, name) + IN_BATCH) for one in drawn])
        assert not np.any(SAME[np.arange(B), places])
        assert np.all(places // GROUP == np.arange(B) // GROUP)
        assert len(np.unique(places, axis=0)) > 1
        # In the second group only image 5 is another image than 9.
        assert np.all(places[:, [4, 5, 7]] == 6)


def test_negatives_are_drawn_from_the_students_similarities(draw):
    negatives, contrast = draw(3)
    groups = contrast.text_to_image.group, contrast.image_to_text.group
    excluded = jnp.asarray(np.stack([SAME[:4, :4], SAME[4:, 4:]]))
    expected = draw_negatives(jax.random.key(3), *groups, excluded)
    jax.tree.map(np.testing.assert_array_equal, negatives, expected)


def test_random_negatives_are_drawn_without_a_look_at_similarities(draw):
    """But never of the same image."""
    negatives, _ = draw(3, hard=False)
    excluded = jnp.asarray(np.stack([SAME[:4, :4], SAME[4:, 4:]]))
    expected = draw_negatives(jax.random.key(3), *[jnp.zeros(excluded.shape)] * 2, excluded)
    jax.tree.map(np.testing.assert_array_equal, negatives, expected)


@pytest.mark.parametrize("kind", ["hard", "random"])
def test_the_loss_draws_as_it_is_told(kind, tiny, inputs, monkeypatch):
    class Asked(Exception):
        pass

    def student_forward(*arguments, hard):
        raise Asked(hard)

    monkeypatch.setattr(retrieval, "student_forward", student_forward)
    monkeypatch.setattr(retrieval, "teacher_forward", lambda *_: None)
    loss = retrieval.RetrievalLoss(tiny.config, GROUP, kind)
    given = LossInputs(inputs._asdict(), {}, Queue(*KEYS[:2], 0, KEYS[2]), 0.0, Random(), {})
    with pytest.raises(Asked, match=str(kind == "hard")):
        loss({}, given)


def test_a_group_of_one_image_has_no_negatives(run, draw):
    image_id = np.where(np.arange(B) < GROUP, 9, IMAGE_ID).astype(np.int32)
    found = run(negatives=draw(0, image_id)[0], image_id=image_id)
    assert int(found.losses["pairs_without_negative"]) == GROUP
    rows = np.moveaxis(np.asarray(found.student.itm_logits, np.float64), 1, 0)
    losses = -log_softmax(rows, axis=-1)
    counted = [losses[0, :, 1], losses[1, GROUP:, 0], losses[2, GROUP:, 0]]
    expected = np.mean(np.concatenate(counted))
    assert float(found.losses["loss_itm"]) == pytest.approx(expected, rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.gradients))


def test_a_batch_of_one_image_trains_on_its_positives(run, draw):
    image_id = np.full(B, 3, np.int32)
    found = run(negatives=draw(0, image_id)[0], image_id=image_id)
    positives = log_softmax(np.asarray(found.student.itm_logits, np.float64)[:, 0], axis=-1)
    assert float(found.losses["loss_itm"]) == pytest.approx(-positives[:, 1].mean(), rel=1e-5)
    assert int(found.losses["pairs_without_negative"]) == B
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.gradients))
    assert float(found.losses["itc_accuracy"]) == 1


def test_contrast_accuracy_counts_any_caption_of_the_image():
    """Three images find the first text best; it is of the first and the second image."""
    group = jnp.zeros((1, 3, 3)).at[0, :, 0].set(1.0)
    blocks = Similarities(group, jnp.zeros((1, 3, 2)))
    same = jnp.array([[[1, 1, 0], [1, 1, 0], [0, 0, 1]]], bool)
    student = retrieval.Student(
        image_feat=jnp.zeros((3, 4)),
        text_feat=jnp.zeros((3, 4)),
        alignment=Alignment(
            Contrast(blocks, blocks),
            Contrast(blocks, blocks),
            Positives(same, jnp.zeros((1, 3, 2), bool)),
            Negatives(
                jnp.zeros((1, 3), jnp.int32), jnp.zeros((1, 3), jnp.int32), jnp.ones((1, 3), bool)
            ),
        ),
        itm_logits=jnp.zeros((3, 3, 2)),
    )
    losses = jax.jit(retrieval.losses)(student, jnp.float32(0))
    assert float(losses["itc_accuracy"]) == pytest.approx(2 / 3)


def test_dropout_is_of_texts_alone(tiny, student_tree, inputs):
    """The teacher's too: it runs in training mode, as in the official code."""
    config = replace(tiny.config, dropout=0.3, attention_dropout=0.3)

    @jax.jit
    def forward(key):
        teacher = retrieval.teacher_forward(config, student_tree, inputs, key)
        student = retrieval.student_forward(
            config,
            GROUP,
            student_tree,
            inputs,
            teacher,
            KEYS,
            NEGATIVES,
            jax.random.fold_in(key, 1),
        )
        return teacher, student

    one, other = (forward(jax.random.key(seed, impl="rbg")) for seed in (0, 1))
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours.image_feat, theirs.image_feat)
        assert np.abs(ours.text_feat - theirs.text_feat).max() > 1e-2
    assert np.abs(one[0].text_feat - one[1].text_feat).max() > 1e-2
    assert np.abs(one[1].itm_logits - other[1].itm_logits).max() > 1e-2
