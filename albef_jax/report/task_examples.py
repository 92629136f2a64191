"""Examples of the downstream tasks for their report pages."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the model's best answers.

    Attributes:
        answers: answer and probability, best first; the first is the answer given.
        truth: the annotators' answers: ten, one, or none.
        right: whether the given answer counts as right; None if unknown.
    """

    image: np.ndarray  # uint8 [H, W, 3]
    question: str
    answers: list[tuple[str, float]]
    truth: tuple[str, ...]
    right: bool | None

    @property
    def marked(self) -> list[tuple[str, float, bool]]:
        """The answers with whether each is right: the first as it was scored."""
        rows = [(answer, share, answer in self.truth) for answer, share in self.answers]
        if rows and self.right is not None:
            rows[0] = (*self.answers[0], self.right)
        return rows

    @property
    def truth_counts(self) -> list[tuple[str, int]]:
        """Each annotators' answer with its count, most frequent first."""
        return Counter(self.truth).most_common()


@dataclass(frozen=True)
class JudgedSentence:
    """A sentence judged by one image (entailment) or two (NLVR2).

    Attributes:
        label, predicted: class names.
        probabilities: of each class, by name.
    """

    images: tuple[np.ndarray, ...]  # uint8 [H, W, 3]
    sentence: str
    label: str
    predicted: str
    probabilities: dict[str, float]

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.predicted == self.label


@dataclass(frozen=True)
class GroundedPhrase:
    """A phrase with the place that the model predicts.

    Attributes:
        heatmap: of the whole phrase, `[h, w]`.
        words: each with a heat map `[h, w]` of its own.
        boxes: candidates, `[n, 4]` as x, y, width, height in pixels of `image`; n may be 0.
        chosen: the number of the best box; None without boxes.
        truth: the true box, if it is known.
        right: whether the place is right; None if unknown.
    """

    image: np.ndarray  # uint8 [H, W, 3]
    text: str
    heatmap: np.ndarray
    words: list[tuple[str, np.ndarray]]
    boxes: np.ndarray
    chosen: int | None
    truth: tuple[float, ...] | None
    right: bool | None


class Judged(Protocol):
    """Anything that is right, wrong, or unknown (None)."""

    @property
    def right(self) -> bool | None:
        """The outcome."""


Example = TypeVar("Example", bound=Judged)
OUTCOMES = (True, False, None)


def right_and_wrong(examples: Sequence[Example], count: int) -> tuple[list[Example], str]:
    """`count` examples in order of appearance, half of them wrong if there are as many.

    If one side has too few, the other fills up, then the examples of unknown truth.

    Returns:
        The examples, and a sentence for the reader with the shares, shown and in full.
    """
    places = {kind: [n for n, one in enumerate(examples) if one.right is kind] for kind in OUTCOMES}
    right, wrong, unknown = (places[kind] for kind in OUTCOMES)
    first_wrong = wrong[: count // 2]
    first_right = right[: count - len(first_wrong)]
    first_wrong = wrong[: count - len(first_right)]
    left = count - len(first_right) - len(first_wrong)
    shown = [examples[n] for n in sorted([*first_right, *first_wrong, *unknown[:left]])]
    return shown, _shares(len(first_right), len(first_wrong), len(right), len(wrong), len(unknown))


def _shares(shown_right: int, shown_wrong: int, right: int, wrong: int, unknown: int) -> str:
    if not right + wrong:
        return f"The truth of these {unknown:,} examples is not known."
    share = 100 * right / (right + wrong)
    text = (
        f"The first {shown_right} right and the first {shown_wrong} wrong ones are shown; of "
        f"the {right + wrong:,} looked at, {share:.1f} % are right."
    )
    return text + (f" Of {unknown:,} more the truth is not known." if unknown else "")
