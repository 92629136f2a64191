"""Recall at k, ties lost: a candidate as good as the right one ranks before it.

Shape letters: Q queries, C candidates.
"""

import numpy as np

from albef_jax.evaluate.soundness import UnsoundScores

KS = (1, 5, 10)
NEVER = np.iinfo(np.int64).max


def ranks(scores: np.ndarray, query_ids: np.ndarray, candidate_ids: np.ndarray) -> np.ndarray:
    """How many wrong candidates are at least as good as the best right one, `[Q]`.

    Args:
        scores: `[Q, C]`, higher is better; -inf marks candidates that were not considered. They
            tie in the last places, as in the published score matrix.
        query_ids: `[Q]`; a candidate is right for a query with its id.
        candidate_ids: `[C]`.

    A query without a right candidate is never found: its rank is beyond every k.

    Raises:
        UnsoundScores: NaN, which nothing is as good as: every query would be found at once.
    """
    if np.isnan(scores).any():
        raise UnsoundScores("scores of retrieval are NaN; check the model's weights")
    found = np.empty(len(scores), np.int64)
    for row, (score, query) in enumerate(zip(scores, query_ids, strict=True)):
        right = candidate_ids == query
        best = score[right].max(initial=-np.inf)
        found[row] = np.sum(score[~right] >= best) if right.any() else NEVER
    return found


def recall(scores: np.ndarray, query_ids: np.ndarray, candidate_ids: np.ndarray) -> dict:
    """Percentage of queries whose right candidate is among the first k: `{"r1": ..., ...}`."""
    found = ranks(scores, query_ids, candidate_ids)
    return {f"r{k}": 100 * float(np.mean(found < k)) for k in KS}
