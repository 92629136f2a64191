"""Recall at k for retrieval: each text and each image is a candidate of its own.

Ties count against the model: a wrong candidate with the same score ranks before the right one, so a
model that cannot distinguish candidates finds nothing. The exception are equal texts, such as one
caption under several images, which no model can order. Only the query's own is right, as in the
official evaluation, whose sort leaves their order to chance; reported is the expected recall over
all their orders.

Shape letters: Q queries, C candidates.
"""

from dataclasses import dataclass

import numpy as np

from albef_jax.errors import UnsoundScores

KS = (1, 5, 10)


@dataclass(frozen=True)
class Rank:
    """The rank of a query's best right candidate.

    Attributes:
        ahead: wrong candidates that rank before it; None if the query has no right candidate.
        right: right candidates at its rank.
        twins: wrong candidates at its rank that equal it, so that no model can order them.
    """

    ahead: int | None
    right: int = 1
    twins: int = 0

    def chance_within(self, k: int) -> float:
        """The probability that a right candidate is among the first k, equals in random order."""
        if self.ahead is None or self.ahead >= k:
            return 0.0
        missed = 1.0
        for drawn in range(min(k - self.ahead, self.right + self.twins)):
            missed *= max(0, self.twins - drawn) / (self.right + self.twins - drawn)
        return 1.0 - missed


def ranks(
    scores: np.ndarray,
    query_ids: np.ndarray,
    candidate_ids: np.ndarray,
    alike: np.ndarray | None = None,
) -> list[Rank]:
    """The rank of each query's best right candidate.

    Args:
        scores: `[Q, C]`, higher is better; -inf marks candidates that were not considered. They
            tie in the last places, as in the official score matrix.
        query_ids: `[Q]`; a candidate is right for a query with its id.
        candidate_ids: `[C]`.
        alike: int `[C]`, equal for candidates that are the same to any model; None: there are none.

    Raises:
        UnsoundScores: NaN, which compares false, so that every query would count as found.
    """
    if np.isnan(scores).any():
        raise UnsoundScores("scores of retrieval are NaN; check the model's weights")
    if alike is not None:
        scores = _as_one(scores, alike)
    found = []
    for score, query in zip(scores, query_ids, strict=True):
        right = candidate_ids == query
        if not right.any():
            found.append(Rank(None))
            continue
        best = score[right].max()
        first = right & (score == best)
        twins = 0
        if alike is not None:
            twins = int(np.sum(~right & np.isin(alike, alike[first]) & (score == best)))
        ahead = int(np.sum(score[~right] >= best)) - twins
        found.append(Rank(ahead, int(first.sum()), twins))
    return found


def _as_one(scores: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Scores with candidates that are alike at the best of theirs.

    They differ by rounding, or where re-ranking considered some of them alone.
    """
    scores = scores.copy()
    _, place, count = np.unique(alike, return_inverse=True, return_counts=True)
    for repeated in np.flatnonzero(count > 1):
        columns = np.flatnonzero(place == repeated)
        scores[:, columns] = scores[:, columns].max(axis=1, keepdims=True)
    return scores


def recall(
    scores: np.ndarray,
    query_ids: np.ndarray,
    candidate_ids: np.ndarray,
    alike: np.ndarray | None = None,
) -> dict[str, float]:
    """Percentage of queries whose right candidate is among the first k: `{"r1": ..., ...}`."""
    found = ranks(scores, query_ids, candidate_ids, alike)
    return {f"r{k}": 100 * float(np.mean([one.chance_within(k) for one in found])) for k in KS}
