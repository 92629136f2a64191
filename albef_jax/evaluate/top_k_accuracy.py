"""Top-k accuracy over many classes.

Shape letters: N images, C classes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

WORST = 10  # classes and confusions that are listed


def top_k(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict:
    """How often the true class is among the best, all in percent.

    A class that ties with the true one counts as better, so a model that scores all alike is never
    right.

    Args:
        logits: finite, `[N, C]`.
        labels: int `[N]`.

    Returns:
        `top1`, `top5` (`top5` only with more than five classes); `mean_per_class`, the mean of
        `top1` over the classes that occur; `per_class`; `confusions`, the most frequent
        `{truth, said, count}`; `majority`, `chance`, `count`, `classes` (their number).

    Raises:
        ValueError: nothing to judge, or shapes that do not fit.
    """
    labels = np.asarray(labels)
    if not len(labels) or logits.shape != (len(labels), len(class_names)):
        raise ValueError(
            f"logits {logits.shape} for {len(labels)} labels and {len(class_names)} classes"
        )
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    better = np.sum(logits >= true, axis=1) - 1
    right = better == 0
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    said = np.where(right, labels, others.argmax(axis=1))
    counts = np.bincount(labels, minlength=len(class_names))
    hits = np.bincount(labels[right], minlength=len(class_names))
    per_class = {
        class_names[int(number)]: 100 * int(hits[number]) / int(counts[number])
        for number in np.flatnonzero(counts)
    }
    wrong = Counter(zip(labels[~right].tolist(), said[~right].tolist(), strict=True))
    return {
        "top1": 100 * float(np.mean(right)),
        **({"top5": 100 * float(np.mean(better < 5))} if len(class_names) > 5 else {}),
        "mean_per_class": float(np.mean(list(per_class.values()))),
        "majority": 100 * int(np.max(counts)) / len(labels),
        "chance": 100 / len(class_names),
        "count": len(labels),
        "classes": len(class_names),
        "per_class": per_class,
        "confusions": [
            {"truth": class_names[truth], "said": class_names[other], "count": number}
            for (truth, other), number in wrong.most_common(WORST)
        ],
    }
