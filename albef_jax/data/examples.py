"""Training examples: a record's image as it is augmented, and its texts as token ids.

The classes hold only a source, a transform and tokenizers, all of which can be pickled, so that
worker processes get their own copies (`albef_jax.data.workers`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from albef_jax.data.images.augment import Transform
from albef_jax.data.records import (
    EncodedPair,
    Labelled,
    Pair,
    Question,
    Referring,
    weighted_answers,
)
from albef_jax.data.tokenizer import Tokenizer, clean_caption, clean_question

END = "[SEP]"  # of an answer
Example = dict[str, Any]


@dataclass(frozen=True)
class Examples(ABC):
    """`(index, rng)` to one example, a flat dict of arrays; safe to share between threads.

    Attributes:
        source: random access to records; raises `BadSample` for an unusable one.
        transform: of images, to side S.
        tokenizer: of texts, to length T.
        max_words: of a text that cleaning keeps.
    """

    source: Any
    transform: Transform
    tokenizer: Tokenizer
    max_words: int

    def __call__(self, index: int, rng: np.random.Generator | None = None) -> Example:
        """The example of a record; no `rng` if nothing is drawn, as in most evaluations."""
        return self.of(self.source[index], rng)

    @abstractmethod
    def of(self, record: Any, rng: np.random.Generator | None = None) -> Example:
        """The example of a given record."""

    def length(self, index: int, rng: np.random.Generator) -> int:
        """Tokens of the text that a record's example has; no image is read.

        Args:
            rng: as it is given to the example, of which the text comes first.
        """
        return self.tokenizer.length(self.cleaned(self.source.texts(index), rng))

    def cleaned(self, texts: tuple[str, ...], rng: np.random.Generator | None) -> str:
        """The text of the example, of those of its record."""
        return clean_caption(texts[0], self.max_words)

    def text(self, text: str) -> Example:
        """text_ids int32 `[T]` and text_mask int32 `[T]` of a cleaned text."""
        text_ids, text_mask = self.tokenizer.encode([text])
        return {"text_ids": text_ids[0], "text_mask": text_mask[0]}


class PairExamples(Examples):
    """An image with one of its captions, drawn by `rng`."""

    def of(self, record: Pair, rng: np.random.Generator | None = None) -> Example:
        """image uint8 `[S, S, 3]`, image_id int32, and the text."""
        assert rng is not None
        caption = self.caption(record, rng)
        return {"image": self.transform(record.image, rng), **caption}

    def caption(self, record: Pair | EncodedPair, rng: np.random.Generator) -> Example:
        """The text and image_id int32, without the image."""
        text = self.text(self.cleaned(record.captions, rng))
        return {**text, "image_id": np.int32(record.image_id)}

    def cleaned(self, texts: tuple[str, ...], rng: np.random.Generator | None) -> str:
        """One of the captions."""
        assert rng is not None
        return clean_caption(texts[rng.integers(len(texts))], self.max_words)


class LabelledExamples(Examples):
    """An image with its class."""

    def of(self, record: Labelled, rng: np.random.Generator | None = None) -> Example:
        """image uint8 `[S, S, 3]`, label int32."""
        return {"image": self.transform(record.image, rng), "label": np.int32(record.label)}


class SentenceExamples(Examples):
    """A sentence with its image and its label."""

    def of(self, record: Any, rng: np.random.Generator | None = None) -> Example:
        """image uint8 as `images` has it, label int32, and the text."""
        text = self.text(self.cleaned((record.sentence,), rng))
        image = self.images(record, rng)
        return {"image": image, **text, "label": np.int32(record.label)}

    def images(self, record: Any, rng: np.random.Generator | None) -> np.ndarray:
        """`[S, S, 3]`."""
        return self.transform(record.image, rng)


class TwoImageExamples(SentenceExamples):
    """A sentence with its two images and its label."""

    def images(self, record: Any, rng: np.random.Generator | None) -> np.ndarray:
        """`[2, S, S, 3]`, left and right."""
        return np.stack([self.transform(side, rng) for side in (record.left, record.right)])


class PhraseExamples(Examples):
    """A phrase with the image it is about."""

    def of(self, record: Referring, rng: np.random.Generator | None = None) -> Example:
        """image uint8 `[S, S, 3]`, image_id int32, and the text."""
        text = self.text(self.cleaned((record.text,), rng))
        image = self.transform(record.image, rng)
        return {"image": image, **text, "image_id": np.int32(record.image_id)}


@dataclass(frozen=True)
class QuestionExamples(Examples):
    """A question with its image and all its answers.

    Attributes:
        answer_tokenizer: of answers, to length L.
        max_answers: A, answers that a question may have.
    """

    answer_tokenizer: Tokenizer
    max_answers: int

    def of(self, record: Question, rng: np.random.Generator | None = None) -> Example:
        """The result of `asked`, answer_ids and answer_mask int32 `[A, L]`, answer_weight `[A]`."""
        answers, weights = weighted_answers(record)
        answer_ids, answer_mask = encode_answers(self.answer_tokenizer, answers)
        weight = np.zeros(self.max_answers, np.float32)
        weight[: len(answers)] = weights
        return {
            **self.asked(record, rng),
            "answer_ids": _padded(answer_ids, self.max_answers),
            "answer_mask": _padded(answer_mask, self.max_answers),
            "answer_weight": weight,
        }

    def asked(self, record: Question, rng: np.random.Generator | None = None) -> Example:
        """image uint8 `[S, S, 3]`, and the text."""
        text = self.text(self.cleaned((record.question,), rng))
        return {"image": self.transform(record.image, rng), **text}

    def cleaned(self, texts: tuple[str, ...], rng: np.random.Generator | None) -> str:
        """The question, which is cleaned less than captions."""
        return clean_question(texts[0], self.max_words)


def encode_answers(tokenizer: Tokenizer, answers: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask int32 `[A, L]` of `[CLS] answer [SEP]`; too long is cut."""
    ids, mask = tokenizer.encode([answer + END for answer in answers])
    full = mask[:, -1] > 0
    ids[full, -1] = tokenizer.sep_id  # a cut answer also ends in [SEP]
    return ids, mask


def _padded(array: np.ndarray, rows: int) -> np.ndarray:
    """To `rows` rows; the added ones repeat the first, and have weight 0."""
    return np.concatenate([array, np.repeat(array[:1], rows - len(array), axis=0)])
