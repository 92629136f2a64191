"""Re-ranking by ITM, image-major: each candidate pair is scored once, and a picture's keys and
values serve all its texts.

Shape letters: N pictures, M captions, C chunks, R texts a chunk, T text tokens, P image tokens.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.evaluate.gallery import Encoded, Gallery, run_in_chunks
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.sizes import ModelConfig


def candidates(scores: np.ndarray, k: int) -> np.ndarray:
    """Pairs to score, bool `[N, M]`: the k best texts a picture and the k best pictures a text."""
    chosen = np.zeros(scores.shape, bool)
    for axis in (0, 1):
        kept = min(k, scores.shape[axis])
        best = np.argpartition(-scores, kept - 1, axis=axis).take(range(kept), axis=axis)
        np.put_along_axis(chosen, best, True, axis=axis)
    return chosen


class Chunks(NamedTuple):
    """One picture and R of its texts each; unused places repeat a text."""

    image: np.ndarray  # [C]
    texts: np.ndarray  # [C, R]


def image_major(chosen: np.ndarray, rows: int) -> Chunks:
    """Group chosen pairs by picture, R = `rows` texts at a time."""
    images, texts = [], []
    for image in np.flatnonzero(chosen.any(axis=1)):
        own = np.flatnonzero(chosen[image])
        padded = np.resize(own, -(-len(own) // rows) * rows).reshape(-1, rows)
        images += [image] * len(padded)
        texts.append(padded)
    return Chunks(np.array(images), np.concatenate(texts))


def scorer(config: ModelConfig, params: Params) -> Callable:
    """A jitted function: batch of `image_embeds [C, P, D]`, `text_embeds [C, R, T, D]` and
    `text_mask [C, R, T]` to match logits `[C, R]`."""

    @jax.jit
    def score(params, batch):
        fused = albef.fuse(
            config, params, batch["text_embeds"], batch["text_mask"], batch["image_embeds"]
        )
        return (albef.itm_logits(params, fused[:, :, 0])[..., 1],)

    return partial(score, params)


def itm_scores(
    config: ModelConfig,
    params: Params,
    gallery: Gallery,
    encoded: Encoded,
    chosen: np.ndarray,
    mesh: Mesh,
    chunks: int,
    rows: int = 16,
) -> np.ndarray:
    """Match logits `[N, M]`, -inf where a pair was not chosen.

    Args:
        chosen: bool `[N, M]`.
        chunks: how many chunks of `rows` texts a call scores.
    """
    scores = np.full(chosen.shape, -np.inf, np.float32)
    plan = image_major(chosen, rows)
    function = scorer(config, params)
    # The embeddings are gathered a block of chunks at a time: all of them would not fit.
    block = 16 * chunks
    for start in range(0, len(plan.image), block):
        image, texts = plan.image[start : start + block], plan.texts[start : start + block]
        arrays = {
            "image_embeds": encoded.image_embeds[image],
            "text_embeds": encoded.text_embeds[texts],
            "text_mask": gallery.text_mask[texts],
        }
        (logits,) = run_in_chunks(function, mesh, chunks, arrays)
        scores[image[:, None], texts] = logits
    return scores
