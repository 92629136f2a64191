"""Answers side by side: where they are, how many passes they take; the loss is the plain one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.answer_rows import pack, rows_of_a_pass, rows_of_answers
from albef_jax.losses.base import LossInputs, Random
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models.primitives import normalize
from tests.helpers.tiny_model import random_params

B, A, T, GROUP = 8, 4, 5, 4
COUNTS = np.array([1, 3, 1, 2, 1, 1, 4, 1])  # of the groups: 7 and 7 of 16
ALPHA = 0.4
TOLERANCE = 1e-10


def answers(counts=COUNTS):
    """Each answer has tokens and a weight of its own; what fills up repeats the first."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 100, (B, A, T), np.int32)
    mask = (np.arange(T) < rng.integers(2, T + 1, (B, A, 1))).astype(np.int32)
    there = np.arange(A) < counts[:, None]
    return {
        "answer_ids": np.where(there[..., None], ids, ids[:, :1]),
        "answer_mask": np.where(there[..., None], mask, mask[:, :1]),
        "answer_weight": np.where(there, rng.uniform(0.1, 1, (B, A)), 0).astype(np.float32),
    }


def batch_of(batch, counts=COUNTS):
    text = {"text_ids": batch.text_ids, "text_mask": batch.text_mask}
    return {"image": np.asarray(normalize(batch.image)), **text, **answers(counts)}


@pytest.fixture(scope="module")
def trees(tiny):
    """Parameters of student and teacher."""
    return random_params(tiny.config, 3, "vqa"), random_params(tiny.config, 4, "vqa")


def gradient_of(loss):
    def objective(params, teacher, batch):
        inputs = LossInputs(batch, teacher, None, jnp.asarray(ALPHA), Random(), {})
        return loss(params, inputs).metrics["loss"]

    return jax.jit(jax.value_and_grad(objective))


def precise(tree):
    def wide(leaf):
        return np.float64(leaf) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return jax.tree.map(wide, tree)


def compare(found, plain):
    assert float(found[0]) == pytest.approx(float(plain[0]), rel=TOLERANCE)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain[1]))
    assert largest > 0

    def close(ours, theirs):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * largest)

    jax.tree.map(close, found[1], plain[1])


def compare_with_plain(tiny, trees, rows, batches, distilled=True):
    """In float64, which leaves nothing of rounding; one program for all batches."""
    with jax.enable_x64(True):
        params, teacher = precise(trees)
        config = replace(tiny.config, dtype="float64")
        plain, packed = (gradient_of(VqaLoss(config, *how)) for how in ((), (rows, GROUP)))
        for batch in batches:
            given = params, teacher if distilled else {}, precise(batch)
            compare(packed(*given), plain(*given))
    assert packed._cache_size() == 1


# Two passes, or fewer, or more.
def test_losses_and_gradients_are_the_plain_ones_for_any_numbers_of_answers(tiny, batch, trees):
    counts = np.ones(B, int), COUNTS, np.full(B, A)
    compare_with_plain(tiny, trees, 6, [batch_of(batch, numbers) for numbers in counts])


# Sixteen passes of a single row, and one that is enough.
@pytest.mark.parametrize(
    ("distilled", "rows"),
    [(False, 1), *(pytest.param(True, rows, marks=pytest.mark.slow) for rows in (7, 1))],
)
def test_other_numbers_of_passes(distilled, rows, tiny, batch, trees):
    compare_with_plain(tiny, trees, rows, [batch_of(batch)], distilled)


def test_passes_have_dropout_of_their_own(tiny, batch, trees):
    """Each question has its one answer twice, in two passes."""
    given = batch_of(batch, np.full(B, 2))
    for array in (given[name] for name in ("answer_ids", "answer_mask", "answer_weight")):
        array[:, 1] = array[:, 0]
    config = replace(tiny.config, dropout=0.3)

    @jax.jit
    def loss(batch):
        random = Random(None, jax.random.key(0), jax.random.key(1))
        inputs = LossInputs(batch, trees[1], None, jnp.asarray(ALPHA), random, {})
        return VqaLoss(config, 1, 1)(trees[0], inputs).metrics["loss"]

    both = float(loss(given))
    given["answer_weight"][:, 1] = 0  # then one pass is enough
    first = float(loss(given))
    assert first > 0
    assert both != pytest.approx(2 * first, rel=1e-4)


def test_answers_come_first_and_each_once():
    batch = answers()
    packed = pack(jnp.asarray(batch["answer_weight"]), GROUP, 6)
    assert packed.place.shape == (3, 2, 6)
    assert int(packed.passes) == 2
    first, second, _ = np.asarray(packed.place)
    assert first.tolist() == [[0, 4, 5, 6, 8, 12], [0, 4, 8, 9, 10, 11]]
    assert second[:, 0].tolist() == [13, 12]
    every = np.swapaxes(packed.place, 0, 1).reshape(2, -1)
    assert [sorted(group.tolist()) for group in every] == [[-1] * 2 + list(range(16))] * 2


def test_rows_of_a_pass_are_their_answers():
    batch = {name: jnp.asarray(array) for name, array in answers().items()}
    place = jnp.asarray([[5, -1], [8, 0]])
    rows = rows_of_answers(batch, place)
    assert rows.question_of.tolist() == [[1, 0], [2, 0]]
    expected = [(1, 1), (0, 0), (6, 0), (4, 0)]
    for row, (question, number) in enumerate(expected):
        np.testing.assert_array_equal(rows.ids[row, 0], batch["answer_ids"][question, number])
        np.testing.assert_array_equal(rows.mask[row, 0], batch["answer_mask"][question, number])
        weight = batch["answer_weight"][question, number] * (row != 1)
        assert rows.weights[row, 0] == weight


@pytest.mark.parametrize(
    ("mean", "deviation", "most", "questions", "rows"),
    [
        (1.0, 0.0, 1, 32, 32),
        (1.0, 0.0, 10, 32, 32),
        (2.5, 2.0, 10, 64, 208),  # 160 answers and three deviations of 16
        (2.5, 2.0, 10, 1, 9),
        (2.5, 2.0, 10, 256, 736),
        (9.0, 2.0, 10, 4, 40),  # never more than there can be
    ],
)
def test_rows_are_enough_for_nearly_every_group(mean, deviation, most, questions, rows):
    assert rows_of_a_pass(mean, deviation, most, questions) == rows
