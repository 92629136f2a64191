import json

import numpy as np
import pytest

from albef_jax.evaluate.accuracy import confusion, judge

NAMES = ("yes", "maybe", "no")


def one_hot(classes):
    return np.eye(3)[list(classes)]


def test_rows_are_the_truth():
    labels, predicted = np.array([0, 0, 0, 2]), np.array([0, 1, 1, 0])
    assert confusion(labels, predicted, 3).tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_every_pair_is_counted_once():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (2, 200))
    table = confusion(labels, predicted, 4)
    for truth, said in np.ndindex(4, 4):
        assert table[truth, said] == np.sum((labels == truth) & (predicted == said))


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_number_that_is_no_class_is_named(bad):
    with pytest.raises(ValueError, match=rf"label {bad} of item 1 .*0 to 2"):
        confusion(np.array([0, bad]), np.array([0, 0]), 3)
    with pytest.raises(ValueError, match=f"prediction {bad} of item 1"):
        confusion(np.array([0, 0]), np.array([0, bad]), 3)


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="one size"):
        confusion(np.array([0, 1]), np.array([0]), 3)


def test_figures_of_a_judgement():
    labels = np.array([0, 0, 0, 2, 2])
    found = judge(one_hot([0, 0, 1, 2, 0]), labels, NAMES)
    assert found["accuracy"] == 60
    assert found["recall"] == {"yes": pytest.approx(200 / 3), "maybe": None, "no": 50}
    assert (found["majority"], found["majority_class"]) == (60, "yes")
    assert found["chance"] == pytest.approx(100 / 3)
    assert found["confusion"] == [[2, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert (found["classes"], found["count"]) == (list(NAMES), 5)


def test_the_highest_logit_decides_whatever_its_sign():
    found = judge(np.array([[-3.0, -1.0, -2.0]]), np.array([1]), NAMES)
    assert found["accuracy"] == 100


def test_figures_can_be_written_as_json():
    found = judge(one_hot([0, 1]), np.array([0, 2]), NAMES)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_named(bad):
    logits = one_hot([0, 1, 2])
    logits[1, 2] = bad
    with pytest.raises(ValueError, match="item 1 are not finite"):
        judge(logits, np.array([0, 1, 2]), NAMES)


@pytest.mark.parametrize(("rows", "labels"), [(2, 1), (0, 0)])
def test_a_wrong_number_of_rows_is_an_error(rows, labels):
    with pytest.raises(ValueError, match="at least one row"):
        judge(np.zeros((rows, 3)), np.zeros(labels, int), NAMES)


def test_a_missing_class_name_is_an_error():
    with pytest.raises(ValueError, match="2 classes"):
        judge(one_hot([0]), np.array([0]), NAMES[:2])
