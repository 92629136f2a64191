"""Held-out examples for the report: retrieval results, and the teacher's guesses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.evaluate.retrieval import Retrieval
from albef_jax.inference.gallery import Gallery
from albef_jax.inference.heat_maps.word_heat import HeatedCaption, heated
from albef_jax.inference.masked_words import MaskedWord, guess
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig

SHOWN = 4
HEATED = 4


@dataclass(frozen=True)
class RankedText:
    """A caption in an image's ranking."""

    caption: str
    score: float
    right: bool


@dataclass(frozen=True)
class TextsOfImage:
    """An image and its best captions, best first; `own` is one of its right captions."""

    image: np.ndarray  # uint8 [S, S, 3]
    own: str
    ranked: list[RankedText]


@dataclass(frozen=True)
class RankedImage:
    """An image in a caption's ranking."""

    image: np.ndarray  # uint8 [S, S, 3]
    score: float
    right: bool


@dataclass(frozen=True)
class ImagesOfText:
    """A caption and its best images, best first."""

    caption: str
    ranked: list[RankedImage]


@dataclass(frozen=True)
class MaskedCaption:
    """A pair with the teacher's guesses for masked words of its caption."""

    image: np.ndarray  # uint8 [S, S, 3]
    caption: str
    words: list[MaskedWord]


@dataclass(frozen=True)
class Examples:
    """What a report shows besides curves and figures."""

    texts_of_images: list[TextsOfImage]
    images_of_texts: list[ImagesOfText]
    masked_captions: list[MaskedCaption]
    ranked_by: str = "ITM"
    heated: Sequence[HeatedCaption] = ()


def evenly_spaced(size: int, count: int) -> np.ndarray:
    """`count` places spread evenly over `range(size)`: examples are not chosen by outcome."""
    return np.unique(np.linspace(0, size - 1, min(count, size)).astype(int))


def collect(
    config: ModelConfig,
    params: Params,
    teacher: Params | None,
    tokenizer: Tokenizer,
    gallery: Gallery,
    retrieval: Retrieval,
    count: int,
) -> Examples:
    """`count` examples of each kind, ranked by ITM or ITC, whichever retrieves better here.

    Masked words only with a `teacher` to guess them; heat maps of at most `HEATED` captions.
    """
    ranked_by, scores = retrieval.better()
    owner = gallery.image_of_text
    images = evenly_spaced(gallery.num_images, count)
    texts = evenly_spaced(len(gallery.captions), count)
    best = [image for text in texts for image in _best(scores[:, text])]
    with_heat = evenly_spaced(len(gallery.captions), min(count, HEATED))
    shown = gallery.shown([*images, *owner[texts], *best, *owner[with_heat]])
    return Examples(
        [_texts_of_image(image, shown[image], scores, gallery) for image in images],
        [_images_of_text(text, shown, scores, gallery) for text in texts],
        [
            MaskedCaption(
                shown[owner[text]],
                gallery.captions[text],
                guess(
                    config,
                    teacher,
                    tokenizer,
                    shown[owner[text]],
                    gallery.text_ids[text],
                ),
            )
            for text in texts
            if teacher is not None
        ],
        ranked_by,
        [
            heated(
                config,
                params,
                tokenizer,
                shown[owner[text]],
                gallery.captions[text],
                gallery.text_ids[text],
            )
            for text in with_heat
        ],
    )


def _best(scores: np.ndarray) -> list[int]:
    return [int(place) for place in np.argsort(-scores)[:SHOWN] if np.isfinite(scores[place])]


def _texts_of_image(
    image: int, pixels: np.ndarray, scores: np.ndarray, gallery: Gallery
) -> TextsOfImage:
    own = np.flatnonzero(gallery.image_of_text == image)
    ranked = [
        RankedText(gallery.captions[text], float(scores[image, text]), text in own)
        for text in _best(scores[image])
    ]
    return TextsOfImage(pixels, gallery.captions[own[0]], ranked)


def _images_of_text(
    text: int, shown: dict[int, np.ndarray], scores: np.ndarray, gallery: Gallery
) -> ImagesOfText:
    right = gallery.image_of_text[text]
    ranked = [
        RankedImage(shown[image], float(scores[image, text]), image == right)
        for image in _best(scores[:, text])
    ]
    return ImagesOfText(gallery.captions[text], ranked)
