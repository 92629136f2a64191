"""Results of a loaded model, and the errors of its methods.

Shape letters: B images or texts, E width of the contrastive space, N image tokens, T text tokens,
D widths, H and W an image's height and width.
"""

from dataclasses import dataclass

import numpy as np

SERVED_BY = {
    "features": "pretrain, retrieval or grounding",
    "matching": "pretrain, retrieval or grounding",
    "ranking": "pretrain, retrieval or grounding",
    "heat maps": "pretrain, retrieval or grounding",
    "answers": "vqa",
    "entailment": "entailment",
}


class CannotServe(Exception):
    """The checkpoint lacks a part that a method needs; the message names tasks that have it.

    Args:
        task: of the checkpoint.
        what: the method's result, a key of `SERVED_BY`.
    """

    def __init__(self, task: str, what: str):
        super().__init__(
            f"a checkpoint of task {task!r} gives no {what}; load one of {SERVED_BY[what]}"
        )


class SearchError(ValueError):
    """An index cannot be built, read or searched; the message has the remedy."""


class NotFinite(CannotServe):
    """The model computes NaN or infinity, so there is no answer.

    Args:
        weights: names of those that are not finite themselves.
    """

    def __init__(self, weights: list[str]):
        self.weights = weights
        told = "the model's numbers overflow for this input, though its weights are finite"
        if weights:
            more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
            told = (
                f"the weights of this checkpoint are not finite (NaN or infinity in {weights[0]}"
                f"{more}): its training went wrong; load an earlier checkpoint"
            )
        Exception.__init__(self, told)


@dataclass(frozen=True)
class Encoded:
    """Encoded images or texts.

    Attributes:
        feature: unit vectors `[B, E]`: compare these, by dot product, to search.
        tokens: states `[B, N, D]` or `[B, T, D]` that fusion reads; do not search with them.
        mask: 1 on tokens, 0 on padding, `[B, N]` or `[B, T]`.
    """

    feature: np.ndarray
    tokens: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Match:
    """Match scores of images and texts, pair by pair.

    Attributes:
        itc: cosine of the features `[B]`, -1 to 1.
        itm: probability of the match head `[B]`, 0 to 1.
    """

    itc: np.ndarray
    itm: np.ndarray


@dataclass(frozen=True)
class Ranked:
    """A candidate in a ranking: its place in the given list, its score, and how it was scored."""

    place: int
    score: float
    by: str


@dataclass(frozen=True)
class Grounded:
    """Where in an image a text is.

    Attributes:
        heatmap: `[H, W]` at the image's size, not negative.
        words: each word of the text with a heat map of its own.
        match: probability that text and image match.
    """

    heatmap: np.ndarray
    words: list[tuple[str, np.ndarray]]
    match: float
