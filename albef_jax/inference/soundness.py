"""Refuses scores that are not finite: NaN would otherwise be sorted and counted."""

import numpy as np

from albef_jax.errors import UnsoundScores


def check_finite(what: str, scores: np.ndarray, first: int = 0) -> None:
    """Check scores, one row or one number for each item.

    Args:
        what: of the item, "logits".
        scores: `[N, ...]`.
        first: the number of the first item.

    Raises:
        UnsoundScores: some are not finite.
    """
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=tuple(range(1, scores.ndim))))
    if bad.size:
        values = ", ".join(f"{value:g}" for value in np.ravel(scores[bad[0]])[:3])
        raise UnsoundScores(
            f"the {what} of item {first + bad[0]} are not finite ({values} ...); check the model's "
            "weights (init.checkpoint, or the newest checkpoint)"
        )
