"""`load` a checkpoint of any form; encode, match, rank, answer, entail and ground with it.

Every method takes one image or text or a list (see `inputs`), works in batches on the default
device, and returns numpy. `encode_image`, `encode_text` and `match` return arrays with a row for
each item, also for a single one; the others return one result for one item, and a list for a list.

Shape letters: B images or texts, E width of the contrastive space, N image tokens, T text tokens, D
widths, H and W an image's height and width.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.data.records import LABELS
from albef_jax.data.scenes.language.questions import ANSWERS
from albef_jax.data.tokenizer import Tokenizer, clean_caption, clean_question
from albef_jax.inference.arguments import whole_number
from albef_jax.inference.choices import distinct_answers, sides_of
from albef_jax.inference.heat_maps.word_heat import official_layer
from albef_jax.inference.inputs import (
    ImageInputs,
    Pairs,
    Texts,
    as_images,
    as_pairs,
    as_square,
    as_texts,
    is_one_image,
)
from albef_jax.inference.outputs import CannotServe, Encoded, Match
from albef_jax.inference.programs import Programs, batched
from albef_jax.inference.results import grounded, ranking, told_answers
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.attention import available
from albef_jax.models.config import ModelConfig

TEXT_LEN = 40
MAX_WORDS = 30
ANSWER_LEN = 10
CANDIDATES = 128  # answers that are scored in full, as in the official code
HEAD_WIDTH = 64  # of the official models; it does not follow from the shapes


def load(path: str | Path, *, vocab: str | Path | None = None, batch_size: int = 32) -> "Model":
    """A model from a workdir, an Orbax directory, a `.pth` or a `.safetensors`.

    Args:
        path: of the checkpoint, or its address in a bucket.
        vocab: name or path of the vocabulary; by default the run's own, or BERT's.
        batch_size: how many images or texts go to the device at once.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of something else.
        ValueError: a vocabulary larger than the model's.
    """
    whole_number("batch_size", batch_size, 1)  # before reading the file
    found = read_checkpoint(path)
    known = found.config or {}
    # Options that later versions dropped set how layers run, not what they compute.
    names = {field.name for field in fields(ModelConfig)}
    kept = {name: value for name, value in known.get("model", {}).items() if name in names}
    config = ModelConfig(**with_heads(sizes_of(found.params)) | kept)
    config = replace(config, attention=available(config.attention))
    data = known.get("data", {})
    if vocab is None:
        vocab = data.get("vocab", "bert-base-uncased")
        beside = found.origin.parent / vocab  # a released model has its own next to it
        vocab = beside if beside.is_file() else vocab
    tokenizer = Tokenizer(vocab, min(TEXT_LEN, config.max_positions))
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{path}: a model of {config.vocab_size} words cannot use the vocabulary {vocab} of "
            f"{tokenizer.vocab_size}; give its own with vocab="
        )
    answers = ANSWERS if data.get("source") == "scenes" else ()
    params = jax.device_put(found.params)
    return Model(found.task, config, params, tokenizer, batch_size, answers)


def with_heads(sizes: dict[str, int]) -> dict[str, Any]:
    """Sizes that follow from the shapes, and heads of the official width."""
    return {
        **sizes,
        "image_heads": max(1, sizes["image_width"] // HEAD_WIDTH),
        "text_heads": max(1, sizes["text_width"] // HEAD_WIDTH),
    }


@dataclass(frozen=True)
class Model:
    """A loaded model; see `load`.

    Its methods raise `ValueError` or `TypeError` for arguments that they cannot use, `CannotServe`
    for what this checkpoint does not have, and `NotFinite` where its weights are damaged.

    Attributes:
        task: what the checkpoint was trained for.
        answers: answers that `answer` ranks when it is given none; empty for free generation.
    """

    task: str
    config: ModelConfig
    params: Params
    tokenizer: Tokenizer
    batch_size: int = 32
    answers: tuple[str, ...] = ()

    def __post_init__(self):
        whole_number("batch_size", self.batch_size, 1)

    def __repr__(self) -> str:
        size = albef.count_parameters(self.params) / 1e6
        return f"Model({self.task}, {size:.1f} M parameters, {self.config.image_size} px)"

    def encode_image(self, images: ImageInputs) -> Encoded:
        """Features and tokens of images.

        Returns:
            `feature [B, E]`, `tokens [B, N, D]`, the class token first, `mask [B, N]`.

        Example:
            >>> images = np.zeros((2, 48, 64, 3), np.uint8)
            >>> model.encode_image(images).feature.shape == (2, model.config.embed_dim)
            True
        """
        self.need("image_proj", "features")
        image = as_square(as_images(images), self.config.image_size)
        feature, tokens = self._batched(self._programs.encode_image, {"image": image})
        return Encoded(feature, tokens, np.ones(tokens.shape[:2], np.int32))

    def encode_text(self, texts: Texts) -> Encoded:
        """Features and tokens of texts.

        Returns:
            `feature [B, E]`, `tokens [B, T, D]`, `mask [B, T]`.

        Example:
            >>> texts = model.encode_text(["a red ball", "two cubes"])
            >>> images = model.encode_image(np.zeros((3, 48, 64, 3), np.uint8))
            >>> (images.feature @ texts.feature.T).shape
            (3, 2)
        """
        self.need("text_proj", "features")
        batch = self._text(as_texts(texts))
        feature, tokens = self._batched(self._programs.encode_text, batch)
        return Encoded(feature, tokens, batch["text_mask"])

    def match(self, images: ImageInputs, texts: Texts) -> Match:
        """Match scores of pairs; a single image or text is paired with all of the other side.

        Example:
            >>> found = model.match(np.zeros((48, 64, 3), np.uint8), ["a ball", "a cube"])
            >>> found.itc.shape, found.itm.shape
            ((2,), (2,))
        """
        self.need("itm_head", "matching")
        batch = self._batch(as_pairs(images, texts))
        return Match(*self._batched(self._programs.match, batch))

    def rank(
        self,
        query: Any = None,
        candidates: Any = None,
        k: int = 16,
        *,
        image: ImageInputs | None = None,
        texts: Texts | None = None,
        text: Texts | None = None,
        images: ImageInputs | None = None,
    ) -> Any:
        """Candidates from best to worst: by ITC, the k best of them re-ranked by ITM.

        Args:
            query, candidates: as below, if their kinds are unambiguous: not two strings.
            k: candidates that are re-ranked. They come first, with any scores.
            image: one, or a list of them for as many rankings; with `texts`.
            texts: the candidates.
            text: one, or a list of them for as many rankings; with `images`.
            images: the candidates.

        Returns:
            A list of `Ranked`, all candidates; a list of such lists for a list of queries.

        Example:
            >>> images = [np.full((32, 32, 3), level, np.uint8) for level in (0, 128, 255)]
            >>> sorted(one.place for one in model.rank(text="a dark image", images=images))
            [0, 1, 2]
        """
        self.need("itm_head", "ranking")
        k = whole_number("k", k, 1)
        named = {"image": image, "texts": texts, "text": text, "images": images}
        kind, asked, offered = sides_of((query, candidates), named)
        side = self.config.image_size
        if kind == "image":
            words = as_texts(offered, "texts")
            queries = list(as_square(as_images(asked, "image"), side))
            sides = self.encode_image(queries), self.encode_text(words)
            found = self._ranked(sides, lambda q, best: (queries[q], [words[p] for p in best]), k)
        else:
            lines = as_texts(asked, "text")
            squares = as_square(as_images(offered, "images"), side)
            sides = self.encode_text(lines), self.encode_image(squares)
            found = self._ranked(sides, lambda q, best: (squares[best], lines[q]), k)
        single = isinstance(asked, str) if kind == "text" else is_one_image(asked)
        return found[0] if single else found

    def answer(
        self,
        image: ImageInputs,
        question: Texts,
        answers: Texts | None = None,
        k: int = 5,
    ) -> Any:
        """Answers to a question, best first, with their probabilities.

        Args:
            image, question: a single one is paired with all of the other; lists are paired.
            answers: to rank; by default the model's own list, or free generation of one answer.
                Duplicates count once. The 128 with the likeliest first token, or k if that is
                more, share the probability.
            k: how many to return at most.

        Returns:
            A list of answers with their probabilities; a list of such lists for a list.

        Example:
            >>> image = np.zeros((48, 64, 3), np.uint8)
            >>> found = vqa_model.answer(image, "what colour is it?", ["red", "blue"])
            >>> sorted(answer for answer, share in found)
            ['blue', 'red']
        """
        self.need("answer_decoder", "answers")
        k = whole_number("k", k, 1)
        listed = self.answers if answers is None else as_texts(answers, "answers")
        listed = distinct_answers(listed, self.tokenizer) if listed else ()
        pairs = as_pairs(image, question, ("image", "question"))
        ids, mask = self.tokenizer.encode([clean_question(one, MAX_WORDS) for one in pairs.texts])
        square = as_square(pairs.images, self.config.image_size)
        batch = {"image": square, "text_ids": ids, "text_mask": mask}
        rows = self._batched(self._answerer(listed, k), batch)
        told = partial(told_answers, self.tokenizer, listed, k)
        found = [told(row) for row in zip(*rows, strict=True)]
        return found[0] if pairs.single else found

    def entail(self, image: ImageInputs, sentence: Texts) -> Any:
        """Probabilities that an image contradicts a sentence, leaves it open, or entails it.

        Args:
            image, sentence: a single one is paired with all of the other; lists are paired.

        Returns:
            A dictionary by label; a list of them for a list.

        Example:
            >>> image = np.zeros((48, 64, 3), np.uint8)
            >>> list(entailment_model.entail(image, "a man sleeps"))
            ['contradiction', 'neutral', 'entailment']
        """
        if self.task != "entailment":
            raise CannotServe(self.task, "entailment")
        pairs = as_pairs(image, sentence, ("image", "sentence"))
        (shares,) = self._batched(self._programs.entail, self._batch(pairs))
        found = [dict(zip(LABELS, map(float, row), strict=True)) for row in shares]
        return found[0] if pairs.single else found

    def ground(self, image: ImageInputs, text: Texts, layer: int | None = None) -> Any:
        """Heat maps of a text in an image, at the size of the image (turned upright).

        Args:
            image, text: a single one is paired with all of the other; lists are paired.
            layer: fusion layer whose attention is read, counted over all BERT layers from 0; by
                default a third into fusion, as in the official code (8 of 12).

        Returns:
            `Grounded`; a list of them for a list.

        Example:
            >>> found = model.ground(np.zeros((48, 64, 3), np.uint8), "a red ball")
            >>> found.heatmap.shape, [word for word, _ in found.words]
            ((48, 64), ['a', 'red', 'ball'])
        """
        self.need("itm_head", "heat maps")
        if layer is None:
            layer = official_layer(self.config)
        first = self.config.text_depth
        last = first + self.config.fusion_depth - 1
        layer = whole_number("layer", layer, first, last, "the fusion layers of this model")
        pairs = as_pairs(image, text, ("image", "text"))
        batch = self._batch(pairs)
        rows = self._batched(self._programs.heat(layer), batch)
        lengths = batch["text_mask"].sum(axis=1)
        found = [
            grounded(self.tokenizer.pieces(ids[1:length]), maps, logits, image.shape[:2])
            for image, ids, length, maps, logits in zip(
                pairs.images, batch["text_ids"], lengths, *rows, strict=True
            )
        ]
        return found[0] if pairs.single else found

    def need(self, part: str, what: str) -> None:
        """Raise `CannotServe` unless the model has a part."""
        if part not in self.params:
            raise CannotServe(self.task, what)

    def _ranked(
        self, sides: tuple[Encoded, Encoded], pairs: Callable[[int, np.ndarray], tuple], k: int
    ) -> list:
        """A ranking for each query.

        Args:
            sides: queries and candidates.
            pairs: of a query and places of candidates, the images and texts to match.
        """
        found = []
        for number, similarity in enumerate(sides[0].feature @ sides[1].feature.T):
            order = np.argsort(-similarity, kind="stable")
            itm = self.match(*pairs(number, order[:k])).itm
            found.append(ranking(similarity, order, itm))
        return found

    def _batch(self, pairs: Pairs) -> dict[str, np.ndarray]:
        square = as_square(pairs.images, self.config.image_size)
        return {"image": square, **self._text(pairs.texts)}

    def _text(self, texts: list[str]) -> dict[str, np.ndarray]:
        ids, mask = self.tokenizer.encode([clean_caption(text, MAX_WORDS) for text in texts])
        return {"text_ids": ids, "text_mask": mask}

    def _batched(self, program: Callable, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return batched(program, self.params, arrays, self.batch_size)

    def _answerer(self, listed: tuple[str, ...], k: int) -> Callable:
        tokenizer = self.tokenizer
        texts, count = [f"{answer}[SEP]" for answer in listed], max(k, CANDIDATES)
        return self._programs.answer(
            (listed, count),
            answers=tokenizer.encode(texts, fixed_width=False) if texts else None,
            k=count,
            beams=3,
            length=ANSWER_LEN,
            special=(tokenizer.cls_id, tokenizer.sep_id),
        )

    @cached_property
    def _programs(self) -> Programs:
        return Programs(self.config)
