import numpy as np
import pytest
from scipy.special import softmax

from albef_jax.evaluate.top_k_accuracy import top_k

NAMES = [f"class {number}" for number in range(8)]


def test_against_counting_by_hand():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200)
    logits = rng.standard_normal((200, 8)) + 1.5 * np.eye(8)[labels]
    found = top_k(logits, labels, NAMES)
    order = np.argsort(-softmax(logits, axis=1), axis=1)
    assert found["top1"] == pytest.approx(100 * np.mean(order[:, 0] == labels))
    assert found["top5"] == pytest.approx(100 * np.mean(np.any(order[:, :5] == labels[:, None], 1)))
    per_class = [100 * np.mean(order[labels == k, 0] == k) for k in range(6)]
    assert list(found["per_class"].values()) == pytest.approx(per_class)
    assert found["mean_per_class"] == pytest.approx(np.mean(per_class))
    assert found["majority"] == pytest.approx(100 * np.bincount(labels).max() / 200)
    assert (found["chance"], found["count"], found["classes"]) == (12.5, 200, 8)
    wrong = [(a, b) for a, b in zip(labels, order[:, 0], strict=True) if a != b]
    first = found["confusions"][0]
    pair = NAMES.index(first["truth"]), NAMES.index(first["said"])
    assert first["count"] == wrong.count(pair) == max(map(wrong.count, wrong))


def test_a_model_that_scores_all_alike_is_never_right():
    found = top_k(np.zeros((4, 8)), np.arange(4), NAMES)
    assert (found["top1"], found["top5"]) == (0, 0)
    assert all(one["truth"] != one["said"] for one in found["confusions"])


def test_few_classes_have_no_top_five():
    assert "top5" not in top_k(np.eye(3), np.arange(3), NAMES[:3])


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(2, 3\) for 2 labels and 8 classes"):
        top_k(np.zeros((2, 3)), np.zeros(2, int), NAMES)
    with pytest.raises(ValueError, match="0 labels"):
        top_k(np.zeros((0, 8)), np.zeros(0, int), NAMES)
