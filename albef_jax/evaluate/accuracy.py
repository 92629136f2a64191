"""Accuracy of judgements (entailment, pairs of images), with baselines that need no model.

Shape letters: N judged sentences, C classes.
"""

from collections.abc import Sequence

import numpy as np

from albef_jax.inference.soundness import check_finite


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix, int64 `[C, C]`: rows are the truth, columns the predictions.

    Args:
        labels, predicted: class numbers, int `[N]`.

    Raises:
        ValueError: different lengths, or a number that is not one of `classes`.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(
            f"labels {labels.shape} and predictions {predicted.shape} must be two lists of one size"
        )
    for name, numbers in (("label", labels), ("prediction", predicted)):
        outside = np.flatnonzero((numbers < 0) | (numbers >= classes))
        if outside.size:
            raise ValueError(
                f"{name} {numbers[outside[0]]} of item {outside[0]} is not one of the {classes} "
                f"classes, 0 to {classes - 1}"
            )
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


def judge(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict:
    """Accuracy, all in percent, of the class with the highest logit.

    Args:
        logits: `[N, C]`.
        labels: int `[N]`.
        class_names: C names, in the order of the logits.

    Returns:
        `accuracy`; `recall`, by class name (None for a class that never is the truth); `majority`,
        the accuracy of always predicting `majority_class`; `chance`; `confusion`, as nested lists;
        `classes`; `count`.

    Raises:
        ValueError: nothing to judge, another number of classes or labels, a logit that is not
            finite, a label that is no class.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if not len(logits) or logits.shape != (len(labels), len(class_names)):
        raise ValueError(
            f"logits {logits.shape} for {len(labels)} labels and {len(class_names)} classes: "
            "expected one row a label, one column a class, and at least one row"
        )
    check_finite("logits", logits)
    table = confusion(labels, logits.argmax(axis=1), len(class_names))
    truths, right = table.sum(axis=1), np.diag(table)
    recall = [
        100 * int(hits) / int(size) if size else None
        for hits, size in zip(right, truths, strict=True)
    ]
    return {
        "accuracy": 100 * int(right.sum()) / len(labels),
        "recall": dict(zip(class_names, recall, strict=True)),
        "majority": 100 * int(truths.max()) / len(labels),
        "majority_class": class_names[int(np.argmax(truths))],
        "chance": 100 / len(class_names),
        "confusion": table.tolist(),
        "classes": list(class_names),
        "count": len(labels),
    }
