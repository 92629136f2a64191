"""`load` a checkpoint, whatever its form, and ask it things.

Every method takes one picture or text or a list, works in batches on the default device, and
returns numpy. Shape letters: B pictures or texts, E width of the contrastive space, N image tokens,
T text tokens, D widths, H and W a picture's height and width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.checkpoints.read import read_checkpoint
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.data.records import LABELS
from albef_jax.data.scenes.questions import ANSWERS
from albef_jax.data.text import Tokenizer, clean_caption, clean_question
from albef_jax.evaluate.answering import Answerer, Generated
from albef_jax.evaluate.boxes import enlarge
from albef_jax.evaluate.gradcam import match_maps
from albef_jax.evaluate.word_heat import by_word, published_layer
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.pixels import normalize
from albef_jax.models.sizes import ModelConfig
from albef_jax.objectives.classification import entailment_logits
from albef_jax.serve.inputs import Pictures, Texts, as_pictures, as_square, as_texts, padded
from albef_jax.serve.outcomes import CannotServe, Encoded, Grounded, Match, Ranked

TEXT_LEN = 40
MAX_WORDS = 30
ANSWER_LEN = 10
HEAD_WIDTH = 64  # of the published models; it cannot be told from the shapes


def load(path: str | Path, *, vocab: str | Path | None = None, batch_size: int = 32) -> "Model":
    """A model from a workdir, an Orbax directory, a `.pth` or a `.safetensors`.

    Args:
        path: of the checkpoint.
        vocab: name or path of the vocabulary; by default the run's own, or BERT's.
        batch_size: how many pictures or texts go to the device at once.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of something else.
        ValueError: a vocabulary larger than the model's.
    """
    found = read_checkpoint(Path(path))
    known = found.config or {}
    # Settings that later versions have dropped say how layers are run, not what they compute.
    names = {field.name for field in fields(ModelConfig)}
    kept = {name: value for name, value in known.get("model", {}).items() if name in names}
    config = ModelConfig(**with_heads(sizes_of(found.params)) | kept)
    data = known.get("data", {})
    if vocab is None:
        vocab = data.get("vocab", "bert-base-uncased")
        beside = found.origin.parent / vocab  # a released model has its own next to it
        vocab = beside if beside.is_file() else vocab
    tokenizer = Tokenizer(vocab, min(TEXT_LEN, config.max_positions))
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{path}: a model of {config.vocab_size} words cannot read the vocabulary {vocab} of "
            f"{tokenizer.vocab_size}; name its own by vocab="
        )
    answers = ANSWERS if data.get("source") == "scenes" else ()
    params = jax.device_put(found.params)
    return Model(found.task, config, params, tokenizer, batch_size, answers)


def with_heads(sizes: dict[str, int]) -> dict[str, Any]:
    """Sizes that follow from the shapes, and heads of the published width."""
    return {
        **sizes,
        "image_heads": max(1, sizes["image_width"] // HEAD_WIDTH),
        "text_heads": max(1, sizes["text_width"] // HEAD_WIDTH),
    }


@dataclass(frozen=True)
class Model:
    """A loaded model; see `load`.

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

    def __repr__(self) -> str:
        size = albef.count_parameters(self.params) / 1e6
        return f"Model({self.task}, {size:.1f} M parameters, {self.config.image_size} px)"

    def encode_image(self, images: Pictures) -> Encoded:
        """Features and tokens of pictures.

        Returns:
            `feature [B, E]`, `tokens [B, N, D]`, the class token first, `mask [B, N]`.

        Example:
            >>> images = np.zeros((2, 48, 64, 3), np.uint8)
            >>> model.encode_image(images).feature.shape == (2, model.config.embed_dim)
            True
        """
        self.need("image_proj", "features")
        image = as_square(as_pictures(images), self.config.image_size)
        feature, tokens = self._batched(self._encode_image, {"image": image})
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
        feature, tokens = self._batched(self._encode_text, batch)
        return Encoded(feature, tokens, batch["text_mask"])

    def match(self, images: Pictures, texts: Texts) -> Match:
        """How well pairs go together; one picture or one text serves all of the other side.

        Example:
            >>> found = model.match(np.zeros((48, 64, 3), np.uint8), ["a ball", "a cube"])
            >>> found.itc.shape, found.itm.shape
            ((2,), (2,))
        """
        self.need("itm_head", "matching")
        pictures, words = as_pictures(images), as_texts(texts)
        count = max(len(pictures), len(words))
        if {len(pictures), len(words)} - {1, count}:
            raise ValueError(
                f"{len(pictures)} pictures and {len(words)} texts: give as many of both, or one of "
                "either"
            )
        image = as_square(pictures, self.config.image_size)
        batch = {
            "image": np.repeat(image, count // len(image), axis=0),
            **self._text(words * (count // len(words))),
        }
        return Match(*self._batched(self._match, batch))

    def rank(self, query: Any, candidates: Sequence[Any], k: int = 16) -> list[Ranked]:
        """Candidates from best to worst: by ITC, the k best of them re-ranked by ITM.

        Args:
            query: a text, with pictures as candidates; or a picture, with texts.
            k: candidates that are re-ranked. They come first, whatever the scores.

        Example:
            >>> pictures = [np.full((32, 32, 3), level, np.uint8) for level in (0, 128, 255)]
            >>> sorted(one.place for one in model.rank("a dark picture", pictures))
            [0, 1, 2]
        """
        self.need("itm_head", "ranking")
        texts = not isinstance(query, str)  # a text that is a path of a picture is still a text
        if texts:
            sides = self.encode_image(query), self.encode_text(candidates)
        else:
            sides = self.encode_text(query), self.encode_image(list(candidates))
        similarity = sides[1].feature @ sides[0].feature[0]
        order = np.argsort(-similarity, kind="stable")
        best = [candidates[place] for place in order[:k]]
        itm = (self.match(query, best) if texts else self.match(best, query)).itm
        again = np.argsort(-itm, kind="stable")
        first = [Ranked(int(order[place]), float(itm[place]), "itm") for place in again]
        return first + [Ranked(int(at), float(similarity[at]), "itc") for at in order[k:]]

    def answer(
        self, image: Any, question: str, answers: Sequence[str] | None = None, k: int = 5
    ) -> list[tuple[str, float]]:
        """Answers to a question, best first, with their probabilities.

        Args:
            answers: to rank; by default the model's own list, or free generation of one answer.
            k: how many to return at most.

        Example:
            >>> picture = np.zeros((48, 64, 3), np.uint8)
            >>> found = vqa_model.answer(picture, "what colour is it?", ["red", "blue"])
            >>> sorted(answer for answer, share in found)
            ['blue', 'red']
        """
        self.need("answer_decoder", "answers")
        listed = tuple(answers if answers is not None else self.answers)
        text = clean_question(question, MAX_WORDS)
        ids, mask = self.tokenizer.encode([text])
        picture = as_square(as_pictures(image), self.config.image_size)
        batch = {"image": picture[:1], "text_ids": ids, "text_mask": mask}
        found = jax.device_get(self._answerer(listed, k)(self.params, batch))
        if isinstance(found, Generated):
            told = self.tokenizer.decode(np.asarray(found.answer_ids[0]))
            return [(told, float(np.exp(found.score[0])))]
        pairs = zip(found.places[0], found.probabilities[0], strict=True)
        return [(listed[place], float(share)) for place, share in pairs]

    def entail(self, image: Any, sentence: str) -> dict[str, float]:
        """Probabilities that a picture contradicts a sentence, leaves it open, or entails it.

        Example:
            >>> picture = np.zeros((48, 64, 3), np.uint8)
            >>> list(entailment_model.entail(picture, "a man sleeps"))
            ['contradiction', 'neutral', 'entailment']
        """
        if self.task != "entailment":
            raise CannotServe(self.task, "entailment")
        picture = as_square(as_pictures(image), self.config.image_size)
        (shares,) = self._batched(self._entail, {"image": picture[:1], **self._text([sentence])})
        return dict(zip(LABELS, map(float, shares[0]), strict=True))

    def ground(self, image: Any, text: str, layer: int | None = None) -> Grounded:
        """Heat maps of a text in a picture, at the picture's size.

        Args:
            layer: BERT layer whose attention is read, from 0; by default a third into fusion, as
                published (8 of 12).

        Example:
            >>> found = model.ground(np.zeros((48, 64, 3), np.uint8), "a red ball")
            >>> found.heatmap.shape, [word for word, _ in found.words]
            ((48, 64), ['a', 'red', 'ball'])
        """
        self.need("itm_head", "heat maps")
        (picture,) = as_pictures(image)
        height, width = picture.shape[:2]
        batch = {"image": as_square([picture], self.config.image_size), **self._text([text])}
        chosen = published_layer(self.config) if layer is None else layer
        maps, logits = jax.device_get(self._heat(chosen)(self.params, batch))
        length = int(batch["text_mask"].sum())
        whole, words = by_word(self.tokenizer.pieces(batch["text_ids"][0, 1:length]), maps[0])

        def large(heat: np.ndarray) -> np.ndarray:
            return np.maximum(enlarge(heat, height, width), 0)

        share = float(np.asarray(jax.nn.softmax(logits[0]))[1])
        return Grounded(large(whole), [(word, large(heat)) for word, heat in words], share)

    def need(self, part: str, what: str) -> None:
        """Raise `CannotServe` unless the model has a part."""
        if part not in self.params:
            raise CannotServe(self.task, what)

    def _text(self, texts: list[str]) -> dict[str, np.ndarray]:
        ids, mask = self.tokenizer.encode([clean_caption(text, MAX_WORDS) for text in texts])
        return {"text_ids": ids, "text_mask": mask}

    def _batched(self, function: Callable, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The function's outputs over all rows; batches have few sizes, so it compiles rarely."""
        size = len(next(iter(arrays.values())))
        parts = []
        for start, rows in _batches(size, self.batch_size):
            batch = {name: array[start : start + rows] for name, array in arrays.items()}
            real = len(next(iter(batch.values())))
            outputs = jax.device_get(function(self.params, padded(batch, rows)))
            parts.append([output[:real] for output in outputs])
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    @cached_property
    def _encode_image(self) -> Callable:
        @jax.jit
        def encode(params, batch):
            tokens = albef.encode_image(self.config, params, normalize(batch["image"]))
            return albef.image_feature(params, tokens), tokens.astype(jnp.float32)

        return encode

    @cached_property
    def _encode_text(self) -> Callable:
        @jax.jit
        def encode(params, batch):
            tokens = albef.encode_text(self.config, params, batch["text_ids"], batch["text_mask"])
            return albef.text_feature(params, tokens), tokens.astype(jnp.float32)

        return encode

    @cached_property
    def _match(self) -> Callable:
        @jax.jit
        def match(params, batch):
            mask = batch["text_mask"]
            image = albef.encode_image(self.config, params, normalize(batch["image"]))
            text = albef.encode_text(self.config, params, batch["text_ids"], mask)
            fused = albef.fuse_class(self.config, params, text[:, None], mask[:, None], image)
            features = albef.image_feature(params, image), albef.text_feature(params, text)
            logits = albef.itm_logits(params, fused[:, 0])
            return jnp.sum(features[0] * features[1], axis=-1), jax.nn.softmax(logits)[:, 1]

        return match

    @cached_property
    def _entail(self) -> Callable:
        @jax.jit
        def entail(params, batch):
            inputs = normalize(batch["image"]), batch["text_ids"], batch["text_mask"]
            return (jax.nn.softmax(entailment_logits(self.config, params, *inputs)),)

        return entail

    def _heat(self, layer: int) -> Callable:
        """Heat maps `[B, T, h, h]` and match logits `[B, 2]`."""

        def heat(params, batch):
            inputs = normalize(batch["image"]), batch["text_ids"], batch["text_mask"]
            return match_maps(self.config, params, *inputs, layer)

        return self._kept(("heat", layer), lambda: jax.jit(heat))

    def _answerer(self, answers: tuple[str, ...], k: int) -> Callable:
        def build() -> Callable:
            tokenizer = self.tokenizer
            texts = [f"{answer}[SEP]" for answer in answers]
            listed = tokenizer.encode(texts, fixed_width=False) if texts else None
            special = tokenizer.cls_id, tokenizer.sep_id
            return Answerer(self.config, listed, k, 3, ANSWER_LEN, special).compile()

        return self._kept(("answer", answers, k), build)

    def _kept(self, key: tuple, build: Callable[[], Callable]) -> Callable:
        """A compiled function, made once."""
        if key not in self._functions:
            self._functions[key] = build()
        return self._functions[key]

    @cached_property
    def _functions(self) -> dict[tuple, Callable]:
        return {}


def _batches(size: int, largest: int) -> Iterator[tuple[int, int]]:
    """Start and padded rows of each batch: whole ones, and a last one of a power of two."""
    for start in range(0, size, largest):
        left = min(largest, size - start)
        yield start, min(largest, 1 << (left - 1).bit_length())
