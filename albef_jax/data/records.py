"""The records of data sources.

Every source allows random access (`__len__`, `__getitem__`), so that shuffling, host sharding and
exact continuation are the same for all of them.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Pair:
    """One image with its captions.

    Attributes:
        name: to find it by: a file path, or `scenes/train/12`.
        image: uint8 RGB `[H, W, 3]`.
        captions: at least one, as written (cleaning happens later).
        image_id: equal for records that show the same image.
    """

    name: str
    image: np.ndarray
    captions: tuple[str, ...]
    image_id: int


@dataclass(frozen=True)
class EncodedPair:
    """A pair whose image is not decoded.

    Attributes:
        name: see `Pair.name`.
        data: the unchecked bytes of an image file.
        captions: see `Pair.captions`.
        image_id: see `Pair.image_id`.
    """

    name: str
    data: bytes
    captions: tuple[str, ...]
    image_id: int


LABELS = ("contradiction", "neutral", "entailment")  # visual entailment, by label number
TRUTH = ("False", "True")  # statements over two images, by label number


@dataclass(frozen=True)
class Question:
    """A question about an image.

    Attributes:
        name: see `Pair.name`.
        image: uint8 RGB `[H, W, 3]`.
        question: as written.
        answers: as given: ten annotators' ('vqa'), one answer ('vg'), or none in a test set.
        dataset: 'vqa' or 'vg'; decides how the answers are weighted.
        question_id: the id under which an answer is submitted.
        kind: of question, for a breakdown of the accuracy; empty if unknown.
    """

    name: str
    image: np.ndarray
    question: str
    answers: tuple[str, ...]
    dataset: str
    question_id: int
    kind: str = ""


def weighted_answers(question: Question) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The distinct answers in order of first appearance, and their weights in training.

    An answer of 'vqa' weighs its share of the annotators; an answer of 'vg' weighs 0.5.
    """
    if question.dataset == "vg":
        return question.answers, (0.5,) * len(question.answers)
    weights: dict[str, float] = {}
    for answer in question.answers:  # added one by one, to round as the official system does
        weights[answer] = weights.get(answer, 0.0) + 1 / len(question.answers)
    return tuple(weights), tuple(weights.values())


@dataclass(frozen=True)
class Sentence:
    """An image and a sentence that it entails, contradicts, or leaves open.

    Attributes:
        name: see `Pair.name`.
        image: uint8 RGB `[H, W, 3]`.
        sentence: as written.
        label: a place in `LABELS`.
    """

    name: str
    image: np.ndarray
    sentence: str
    label: int


@dataclass(frozen=True)
class TwoImages:
    """A statement about two images, true or false.

    Attributes:
        name: see `Pair.name`.
        left: uint8 RGB `[H, W, 3]`.
        right: uint8 RGB `[H, W, 3]`, of any other size.
        sentence: as written.
        label: a place in `TRUTH`.
    """

    name: str
    left: np.ndarray
    right: np.ndarray
    sentence: str
    label: int


@dataclass(frozen=True)
class Referring:
    """An expression that refers to one thing in an image.

    Attributes:
        name: see `Pair.name`.
        image: uint8 RGB `[H, W, 3]`.
        text: as written.
        image_id: equal for records that show the same image.
        ref_id: equal for expressions for the same thing; -1 in training.
        box: the thing's place, (x, y, width, height) in pixels; None in training.
        candidates: float32 `[n, 4]`, boxes to choose from, as `box`; n is 0 in training.
        split: 'train', or the part of the evaluation: 'val', 'testA', 'testB'.
    """

    name: str
    image: np.ndarray
    text: str
    image_id: int
    ref_id: int
    box: tuple[float, float, float, float] | None
    candidates: np.ndarray
    split: str


@dataclass(frozen=True)
class Labelled:
    """An image with its class.

    Attributes:
        name: what a person would look for (see `Pair.name`).
        image: uint8 RGB `[H, W, 3]`.
        label: the number of its class.
    """

    name: str
    image: np.ndarray
    label: int


class PairSource(Protocol):
    """Random access to pairs. `__getitem__` raises `BadSample` for an unusable record."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


@runtime_checkable
class EncodedPairs(Protocol):
    """A source that can also return the bytes of its image files."""

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index`, not decoded; raises `BadSample` if its file cannot be read."""
        ...


class KnownTexts(Protocol):
    """A source that knows its texts without reading images."""

    def texts(self, index: int) -> tuple[str, ...]:
        """The texts of the record at `index`, as written."""
        ...
