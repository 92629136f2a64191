"""Heat maps of a caption and its words, for examples: Grad-CAM of the match head.

Shape letters: T text tokens, h patches a side.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.heat_maps.gradcam import match_maps
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize

# The number of words on an example card.
WORDS = 8


@dataclass(frozen=True)
class HeatedCaption:
    """A pair with the heat `[h, h]` of its whole caption, and that of some of its words."""

    image: np.ndarray  # uint8 [S, S, 3]
    caption: str
    heatmap: np.ndarray
    words: list[tuple[str, np.ndarray]]


def official_layer(config: ModelConfig) -> int:
    """The BERT layer that heat maps are read from, a third into fusion: 8 of 12."""
    return config.text_depth + config.fusion_depth // 3


def heated(
    config: ModelConfig,
    params: Params,
    tokenizer: Tokenizer,
    image: np.ndarray,
    caption: str,
    text_ids: np.ndarray,
) -> HeatedCaption:
    """Heat of a caption and of its longest words, in reading order.

    Args:
        image: uint8 `[S, S, 3]`.
        text_ids: `[T]`, padded.
    """
    mask = (text_ids != tokenizer.pad_id).astype(np.int32)
    maps = np.asarray(_maps(config, params, image[None], text_ids[None], mask[None]))[0]
    whole, words = by_word(tokenizer.pieces(text_ids[1 : int(mask.sum())]), maps)
    longest = sorted(range(len(words)), key=lambda number: -len(words[number][0]))[:WORDS]
    return HeatedCaption(image, caption, whole, [words[number] for number in sorted(longest)])


@partial(jax.jit, static_argnums=0)
def _maps(config, params, image, text_ids, text_mask):
    """`[1, T, h, h]`."""
    layer = official_layer(config)
    return match_maps(config, params, normalize(image), text_ids, text_mask, layer)[0]


def by_word(pieces: list[str], maps: np.ndarray) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Heat of a whole text and of its words: means over their tokens, padding not counted.

    Args:
        pieces: WordPieces of the text without `[CLS]`.
        maps: `[T, h, h]`, one a token, `[CLS]` at 0.

    Returns:
        `[h, h]` of the text, `[CLS]` counted; each word, its pieces joined, with its `[h, h]`.
    """
    words = [(word, maps[places].mean(axis=0)) for word, places in _joined(pieces)]
    return maps[: 1 + len(pieces)].mean(axis=0), words


def _joined(pieces: list[str]) -> list[tuple[str, list[int]]]:
    """WordPieces as words, each with the places of its pieces in the text, `[CLS]` at 0."""
    words: list[tuple[str, list[int]]] = []
    for place, piece in enumerate(pieces, 1):
        if piece.startswith("##") and words:
            word, places = words[-1]
            words[-1] = (word + piece.removeprefix("##"), [*places, place])
        else:
            words.append((piece, [place]))
    return words
