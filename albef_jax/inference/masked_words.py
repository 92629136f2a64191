"""The momentum teacher's guesses for masked words (paper figure 2).

Shape letters: W masked words, T text tokens, V vocabulary.
"""

from collections.abc import Container
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.distributed.mesh import fetch
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize

TOP = 5


@dataclass(frozen=True)
class MaskedWord:
    """One masked word of a caption, and the teacher's candidates with their probabilities."""

    position: int
    word: str
    candidates: list[tuple[str, float]]


def longest_words(pieces: list[str], count: int, only: Container[str] | None = None) -> list[int]:
    """Positions of the `count` longest whole words, in reading order; of those in `only`."""
    whole = [
        place
        for place, piece in enumerate(pieces)
        if piece.isalpha()
        and not pieces[min(place + 1, len(pieces) - 1)].startswith("##")
        and (only is None or piece in only)
    ]
    longest = sorted(whole, key=lambda place: -len(pieces[place]))[:count]
    return sorted(longest)


def guess(
    config: ModelConfig,
    teacher: Params,
    tokenizer: Tokenizer,
    image: np.ndarray,
    text_ids: np.ndarray,
    words: int = 3,
    only: Container[str] | None = None,
) -> list[MaskedWord]:
    """The teacher's guesses for a caption's longest words, each masked by itself.

    Args:
        teacher: parameters of the teacher (or of a student).
        image: uint8 `[S, S, 3]`.
        text_ids: `[T]`, padded.
        words: how many words to mask, at most.
        only: words to choose from, such as names of colours; by default all.
    """
    pieces = tokenizer.pieces(text_ids[text_ids != tokenizer.pad_id])
    places = longest_words(pieces, words, only)
    if not places:
        return []
    rows = np.resize(places, words)
    masked = np.tile(text_ids, (words, 1))
    masked[np.arange(words), rows] = tokenizer.mask_id
    mask = (masked != tokenizer.pad_id).astype(np.int32)
    top = _most_probable(config, tokenizer.vocab_size, teacher, image, masked, mask, rows)
    values, ids = fetch(top)
    return [
        MaskedWord(
            place,
            pieces[place],
            list(zip(tokenizer.pieces(ids[row]), values[row].tolist(), strict=True)),
        )
        for row, place in enumerate(places)
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _most_probable(config, known, teacher, image, masked, mask, rows):
    image_embeds = albef.encode_image(config, teacher, normalize(image[None]))
    text_embeds = albef.encode_text(config, teacher, masked, mask)
    # The W copies of the caption are rows of one image.
    fused = albef.fuse(config, teacher, text_embeds[None], mask[None], image_embeds)[0]
    logits = albef.mlm_logits(config, teacher, fused[jnp.arange(len(rows)), rows])
    # A model may have more rows than the vocabulary has words; those have no name.
    return jax.lax.top_k(jax.nn.softmax(logits[:, :known]), TOP)
