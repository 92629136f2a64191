"""The whole objective against separate passes and losses written out in float64."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses import masked_lm, pretraining, retrieval
from albef_jax.losses.alignment import Keys
from albef_jax.losses.masked_lm import MaskedText, Positions, mlm_loss
from albef_jax.losses.matching import Negatives, draw_noise, exclude_self
from albef_jax.losses.pretraining import LOSSES, Inputs, Recipe
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from tests.helpers.draws import draw_negatives

GROUP, B, ALPHA = 4, 8, 0.4
RECIPE = Recipe(contrast_group=GROUP, mlm_probability=0.3)
RNG = np.random.default_rng(0)
NEGATIVES = Negatives(
    jnp.array([[1, 0, 3, 2], [2, 3, 0, 0]]),
    jnp.array([[3, 2, 1, 0], [1, 2, 1, 2]]),
    jnp.ones((2, 4), bool),
)
IN_BATCH = np.array([[0], [4]])  # group position to batch position


def unit(rows):
    x = RNG.standard_normal((rows, 8), np.float32)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


KEYS = Keys(unit(12), unit(12))


class Everything(NamedTuple):
    inputs: Inputs
    positions: Positions
    student: pretraining.Student
    teacher: pretraining.Teacher
    losses: dict
    gradients: dict


@pytest.fixture(scope="module")
def teacher_tree(tiny):
    """Another set of weights, so that student and teacher cannot be mixed up."""
    teacher = albef.teacher_params(tiny.params)
    return jax.tree.map(
        lambda leaf: np.float32(1.2) * leaf + np.float32(0.01), jax.device_get(teacher)
    )


@pytest.fixture(scope="module")
def run(tiny, teacher_tree):
    """The objective as a jitted function of `Inputs`."""
    config = tiny.config

    def forward(params, inputs, positions, teacher):
        student = pretraining.student_forward(
            config, RECIPE, params, inputs, positions, teacher, KEYS, NEGATIVES, None
        )
        losses = pretraining.losses(student, teacher, inputs, positions, ALPHA)
        return losses["loss"], (student, losses)

    @jax.jit
    def everything(inputs):
        positions = pretraining.pack_masked(RECIPE, inputs.masked.selected)
        teacher = pretraining.teacher_forward(config, teacher_tree, inputs, positions, None)
        gradients, (student, losses) = jax.grad(forward, has_aux=True)(
            tiny.params, inputs, positions, teacher
        )
        return Everything(inputs, positions, student, teacher, losses, gradients)

    return everything


@pytest.fixture(scope="module")
def inputs(batch):
    selected = (RNG.random(batch.text_ids.shape) < 0.3) & (batch.text_mask == 1)
    selected[:, 0] = False
    selected[2, 1] = True
    masked_ids = np.where(selected, 103, batch.text_ids)
    return Inputs(
        normalize(jnp.asarray(batch.image)),
        jnp.asarray(batch.text_ids),
        jnp.asarray(batch.text_mask),
        MaskedText(jnp.asarray(masked_ids), jnp.asarray(selected)),
    )


@pytest.fixture(scope="module")
def full(run, inputs):
    return jax.tree.map(np.asarray, run(inputs))


@pytest.fixture(scope="module")
def separate(tiny, teacher_tree, inputs):
    """The official passes, each by itself: class tokens' logits, vocabulary logits, features."""
    config = tiny.config
    negative_image, negative_text = (
        (np.asarray(index) + IN_BATCH).reshape(-1) for index in NEGATIVES[:2]
    )

    def single(params, text, mask, image):
        return albef.fuse(config, params, text[:, None], mask[:, None], image)[:, 0]

    def encoded(params):
        image = albef.encode_image(config, params, inputs.image)
        clean = albef.encode_text(config, params, inputs.text_ids, inputs.text_mask)
        masked = albef.encode_text(config, params, inputs.masked.text_ids, inputs.text_mask)
        fused = single(params, masked, inputs.text_mask, image)
        return (
            image,
            clean,
            {
                "image_feat": albef.image_feature(params, image),
                "text_feat": albef.text_feature(params, clean),
                "mlm": albef.mlm_logits(config, params, fused),
            },
        )

    @jax.jit
    def passes(params, teacher):
        image, clean, student = encoded(params)
        mask = inputs.text_mask
        pairs = {
            "positive": (clean, mask, image),
            "negative_image": (clean, mask, image[negative_image]),
            "negative_text": (clean[negative_text], mask[negative_text], image),
        }
        matches = {
            name: albef.itm_logits(params, single(params, *pair)[:, 0])
            for name, pair in pairs.items()
        }
        return {**student, **matches}, encoded(teacher)[2]

    outputs = passes(tiny.params, teacher_tree)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), outputs)


def itc_oracle(student, teacher, temperature):
    total = 0.0
    for start in range(0, B, GROUP):
        rows = slice(start, start + GROUP)
        for mine, other, queue in (
            ("image_feat", "text_feat", KEYS.text),
            ("text_feat", "image_feat", KEYS.image),
        ):
            columns = np.concatenate([teacher[other][rows], np.asarray(queue, np.float64)])
            scores = student[mine][rows] @ columns.T / temperature
            targets = ALPHA * softmax(teacher[mine][rows] @ columns.T / temperature, axis=1)
            targets += (1 - ALPHA) * np.eye(*targets.shape)
            total -= (targets * log_softmax(scores, axis=1)).sum() / (2 * B)
    return total


def mlm_oracle(student, teacher, inputs):
    """Over whole captions, the places without a label thrown away at the end."""
    hard = np.eye(student["mlm"].shape[-1])[np.asarray(inputs.text_ids)]
    targets = (1 - ALPHA) * hard + ALPHA * softmax(teacher["mlm"], axis=-1)
    losses = -(targets * log_softmax(student["mlm"], axis=-1)).sum(axis=-1)
    return losses[np.asarray(inputs.masked.selected)].mean()


def itm_rows(student):
    rows = [student[name] for name in ("positive", "negative_image", "negative_text")]
    return np.concatenate(rows), np.repeat([1, 0, 0], B)


def test_contrast_loss(tiny, full, separate):
    expected = itc_oracle(*separate, float(tiny.params["temperature"]))
    assert float(full.losses["loss_itc"]) == pytest.approx(expected, rel=1e-5)


def test_masked_word_loss(full, separate, inputs):
    expected = mlm_oracle(*separate, inputs)
    assert float(full.losses["loss_mlm"]) == pytest.approx(expected, rel=1e-5)


def test_matching_loss_and_accuracy(full, separate):
    rows, labels = itm_rows(separate[0])
    expected = -np.mean(log_softmax(rows, axis=1)[np.arange(3 * B), labels])
    assert float(full.losses["loss_itm"]) == pytest.approx(expected, rel=1e-5)
    accuracy = np.mean(rows.argmax(axis=1) == labels)
    assert float(full.losses["itm_accuracy"]) == pytest.approx(accuracy)


def test_the_loss_is_the_sum(full):
    parts = [full.losses[f"loss_{name}"] for name in ("itc", "mlm", "itm")]
    assert float(full.losses["loss"]) == pytest.approx(float(np.sum(parts)), rel=1e-6)
    assert int(full.losses["mlm_overflow"]) == int(full.losses["pairs_without_negative"]) == 0


def test_contrast_accuracy_is_within_the_group(full, separate):
    student, teacher = separate
    hits = []
    for start in (0, 4):
        rows = slice(start, start + 4)
        scores = student["image_feat"][rows] @ teacher["text_feat"][rows].T
        hits += (scores.argmax(axis=1) == np.arange(4)).tolist()
    assert float(full.losses["itc_accuracy"]) == pytest.approx(np.mean(hits))


def test_vocabulary_logits_at_the_masked_tokens(full, separate, inputs):
    used = full.positions.used
    assert used.sum() == np.asarray(inputs.masked.selected).sum()
    for found, whole in zip((full.student, full.teacher), separate, strict=True):
        logits = np.asarray(masked_lm.gather(jnp.asarray(whole["mlm"]), Positions(*full.positions)))
        np.testing.assert_allclose(found.mlm_logits[used], logits[used], rtol=1e-4, atol=1e-5)


def test_every_parameter_is_trained(full):
    """All but the key biases, which no output depends on, and the second segment's embedding."""
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(full.gradients)
        if np.abs(leaf).max() < 1e-6
    ]
    assert still
    assert all("['key']['bias']" in name for name in still), still


@pytest.mark.parametrize("trained", [("itc",), ("mlm", "itm"), ("itm", "itc", "mlm")])
def test_the_loss_is_the_sum_of_those_that_are_trained(full, trained):
    arrays = (full.student, full.teacher, full.inputs, full.positions)
    found = pretraining.losses(*jax.tree.map(jnp.asarray, arrays), ALPHA, trained=trained)
    assert float(found["loss"]) == pytest.approx(
        sum(float(full.losses[f"loss_{name}"]) for name in trained), rel=1e-6
    )
    for name in LOSSES:  # measured all the same
        assert float(found[f"loss_{name}"]) == pytest.approx(
            float(full.losses[f"loss_{name}"]), rel=1e-5
        )


def test_no_masked_token_at_all(run, inputs):
    nothing = MaskedText(inputs.text_ids, jnp.zeros_like(inputs.masked.selected))
    found = run(inputs._replace(masked=nothing))
    assert float(found.losses["loss_mlm"]) == 0
    assert np.isfinite(float(found.losses["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.gradients))
    assert not np.any(found.gradients["mlm_head"]["bias"])
    assert np.any(found.gradients["itm_head"]["bias"])


def test_overflow_is_reported(run, inputs):
    everything = inputs.text_mask.astype(bool)
    found = run(inputs._replace(masked=inputs.masked._replace(selected=everything)))
    slots = masked_lm.capacity(GROUP * 6, 0.3)
    per_group = np.asarray(everything).reshape(2, -1).sum(axis=1)
    assert int(found.losses["mlm_overflow"]) == np.maximum(per_group - slots, 0).sum()


def test_masked_word_loss_ignores_empty_slots():
    logits = jnp.asarray(RNG.standard_normal((2, 3, 7), np.float32))
    teacher = jnp.asarray(RNG.standard_normal((2, 3, 7), np.float32))
    labels, used = jnp.array([[1, 2, 0], [6, 0, 0]]), jnp.array([[1, 1, 0], [1, 0, 0]], bool)
    found = mlm_loss(logits, labels, used, teacher, ALPHA)
    targets = (1 - ALPHA) * np.eye(7)[labels] + ALPHA * softmax(teacher, axis=-1)
    losses = -(targets * log_softmax(logits, axis=-1)).sum(axis=-1)
    expected = (losses[0, 0] + losses[0, 1] + losses[1, 0]) / 3
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.fixture
def drawn(tiny, inputs, full):
    """Negatives and similarities of a recipe, with sharp similarities and a key."""
    params = {**tiny.params, "temperature": jnp.float32(0.001)}

    def draw(recipe, key):
        noise = draw_noise(key, 2, GROUP)

        @jax.jit
        def forward(inputs):
            positions = pretraining.pack_masked(recipe, inputs.masked.selected)
            teacher = jax.tree.map(jnp.asarray, full.teacher)
            student = pretraining.student_forward(
                tiny.config, recipe, params, inputs, positions, teacher, KEYS, noise, None
            )
            return student.alignment.negatives, student.alignment.contrast

        return forward(inputs)

    return draw


def test_random_negatives_are_drawn_without_a_look_at_similarities(drawn):
    key = jax.random.key(5)
    negatives, _ = drawn(replace(RECIPE, negatives="random"), key)
    nothing = jnp.zeros((2, GROUP, GROUP))
    expected = draw_negatives(key, nothing, nothing, exclude_self(2, GROUP))
    jax.tree.map(np.testing.assert_array_equal, negatives, expected)
    assert not np.any(np.asarray(negatives.image) == np.arange(GROUP))


@pytest.mark.parametrize("distilled", [(), ("itc",), ("mlm",), ("itc", "mlm")])
def test_each_loss_is_distilled_by_itself(full, distilled):
    arrays = jax.tree.map(jnp.asarray, (full.student, full.teacher, full.inputs, full.positions))
    found = pretraining.losses(*arrays, ALPHA, distilled=distilled)
    hard = pretraining.losses(*arrays, 0.0)
    for name in ("itc", "mlm"):
        expected = (full.losses if name in distilled else hard)[f"loss_{name}"]
        assert float(found[f"loss_{name}"]) == pytest.approx(float(expected), rel=1e-6)
        assert float(hard[f"loss_{name}"]) != pytest.approx(float(full.losses[f"loss_{name}"]))


def test_hard_negatives_are_drawn_from_the_students_similarities(drawn):
    """With a key in place of negatives; the sharp similarities leave no choice but the best."""
    key = jax.random.key(5)
    negatives, contrast = drawn(RECIPE, key)
    groups = contrast.text_to_image.group, contrast.image_to_text.group
    expected = draw_negatives(key, *groups, exclude_self(2, GROUP))
    jax.tree.map(np.testing.assert_array_equal, negatives, expected)
    own = np.eye(GROUP, dtype=bool)
    best = np.where(own, -np.inf, np.asarray(groups[0])).argmax(axis=-1)
    assert np.mean(np.asarray(negatives.image) == best) > 0.8


def test_pairs_without_negatives_are_counted(full):
    negatives = NEGATIVES._replace(valid=jnp.zeros((2, 4), bool).at[0].set(True))
    invalid = full.student._replace(alignment=full.student.alignment._replace(negatives=negatives))
    arrays = jax.tree.map(jnp.asarray, (invalid, full.teacher, full.inputs, full.positions))
    found = pretraining.losses(*arrays, ALPHA)
    assert int(found["pairs_without_negative"]) == 4
    assert float(found["loss_itm"]) != pytest.approx(float(full.losses["loss_itm"]), rel=1e-4)


def test_captions_of_one_image_may_be_right_answers(tiny, teacher_tree, inputs):
    """ITC and ITM are then those of retrieval, on the same features and negatives."""
    config, recipe = tiny.config, replace(RECIPE, same_image_positives=True)
    image_id = jnp.array([5, 7, 5, 9, 1, 1, 1, 1])
    keys = KEYS._replace(image_id=jnp.array([7, 9, 7, 1, -100, 3, 5, 0, 2, 2, 2, 8]))
    negatives = NEGATIVES._replace(valid=jnp.array([[True] * 4, [False] * 4]))
    inputs = inputs._replace(image_id=image_id)

    @jax.jit
    def both(params):
        positions = pretraining.pack_masked(recipe, inputs.masked.selected)
        teacher = pretraining.teacher_forward(config, teacher_tree, inputs, positions, None)
        student = pretraining.student_forward(
            config, recipe, params, inputs, positions, teacher, keys, negatives, None
        )
        pairs = retrieval.Inputs(inputs.image, inputs.text_ids, inputs.text_mask, image_id)
        theirs = retrieval.student_forward(
            *(config, GROUP, params, pairs),
            retrieval.Teacher(teacher.image_feat, teacher.text_feat),
            *(keys, negatives, None),
        )
        drawing = pretraining.student_forward(
            *(config, recipe, params, inputs, positions, teacher, keys),
            draw_noise(jax.random.key(0), B // GROUP, GROUP),
            None,
        )
        losses = pretraining.losses(student, teacher, inputs, positions, ALPHA)
        return losses, retrieval.losses(theirs, ALPHA), drawing.alignment.negatives

    ours, theirs, negative = both(tiny.params)
    for name in ("loss_itc", "loss_itm", "itc_accuracy", "itm_accuracy", "pairs_without_negative"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, err_msg=name)
    grouped = np.asarray(image_id).reshape(-1, GROUP)
    np.testing.assert_array_equal(negative.valid, [[True] * 4, [False] * 4])
    for chosen in (negative.image, negative.text):
        assert (np.take_along_axis(grouped, np.asarray(chosen), 1) != grouped)[0].all()
