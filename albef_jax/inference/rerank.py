"""Re-ranking by ITM, image-major: each candidate pair is scored once, and an image's keys and
values are computed once for all its texts.

Images are encoded a block at a time and dropped: their tokens are never all in memory. Each process
scores the images that it has read.
Shape letters: N images, M captions, C images a block, R texts an image and call, T text
tokens, D text width.
"""

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.distributed.mesh import local_rows, to_devices
from albef_jax.distributed.sync import gather_rows
from albef_jax.inference.gallery import Encoded, Gallery
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.bert import KeysValues
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize

TEXTS = 8  # texts of an image scored in one call


class Candidates(NamedTuple):
    """Pairs to score, bool `[N, M]` each: an image's best texts, and a text's best images.

    A query is answered from its own candidates alone, as in the official code.
    """

    texts: np.ndarray
    images: np.ndarray

    @property
    def either(self) -> np.ndarray:
        """All pairs to score, each once."""
        return self.texts | self.images


def candidates(scores: np.ndarray, k: int) -> Candidates:
    """The k best of each query, both ways; all if there are fewer."""

    def best(axis: int) -> np.ndarray:
        chosen, kept = np.zeros(scores.shape, bool), min(k, scores.shape[axis])
        places = np.argpartition(-scores, kept - 1, axis=axis).take(range(kept), axis=axis)
        np.put_along_axis(chosen, places, True, axis=axis)
        return chosen

    return Candidates(texts=best(1), images=best(0))


def blocks(
    chosen: np.ndarray, num_images: int, among: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Numbers of the images that have candidates, C = `images` at a time; the last block
    repeats an image.

    Images of a block have similar numbers of candidates, so that little padding is needed.

    Args:
        among: numbers of the images to take; None for all.
    """
    among = np.arange(len(chosen)) if among is None else among
    counts = chosen[among].sum(axis=1)
    order = among[np.argsort(counts, kind="stable")[np.count_nonzero(counts == 0) :]]
    for start in range(0, len(order), num_images):
        yield np.resize(order[start : start + num_images], num_images)


def calls(chosen: np.ndarray, block: np.ndarray, texts: int) -> Iterator[np.ndarray]:
    """Candidates of a block's images, R = `texts` at a time, `[C, R]`.

    An image with fewer repeats its own.
    """
    own = [np.flatnonzero(chosen[image]) for image in block]
    rounds = -(-max(map(len, own)) // texts)
    padded = np.stack([np.resize(places, rounds * texts) for places in own])
    yield from np.split(padded, rounds, axis=1)


class Round(NamedTuple):
    """A block of a process with its calls; without images where others have more to do."""

    block: np.ndarray  # [C], -1 for none
    calls: list[np.ndarray]  # [C, R] each


def schedule(
    chosen: np.ndarray, shares: list[np.ndarray], num_images: int, texts: int
) -> list[list[Round]]:
    """What each process scores: equal numbers of blocks and of calls, as they compute together.

    Who has fewer calls repeats its last one.

    Args:
        shares: numbers of the images that each process has.
        num_images: C of each process.
    """
    nothing = Round(np.full(num_images, -1), [np.zeros((num_images, texts), np.int64)])
    own = [
        [Round(one, list(calls(chosen, one, texts))) for one in blocks(chosen, num_images, share)]
        for share in shares
    ]
    rounds = list(zip_longest(*own, fillvalue=nothing))
    longest = [max(len(one.calls) for one in together) for together in rounds]
    return [
        [
            Round(one.block, [*one.calls, *one.calls[-1:] * (most - len(one.calls))])
            for one, most in zip(plan, longest, strict=True)
        ]
        for plan in zip(*rounds, strict=True)
    ]


# Compiled once for a model, however often a run is evaluated.
@partial(jax.jit, static_argnums=0)
def read_images(config: ModelConfig, params: Params, batch: dict[str, Any]) -> KeysValues:
    """Keys and values of `{"image": uint8 [C, S, S, 3]}`."""
    image_embeds = albef.encode_image(config, params, normalize(batch["image"]))
    return albef.image_keys_values(config, params, image_embeds)


@partial(jax.jit, static_argnums=0)
def score_texts(
    config: ModelConfig, params: Params, keys_values: KeysValues, batch: dict[str, Any]
) -> jax.Array:
    """Match logits `[C, R]` of `{"text_embeds": [C, R, T, D], "text_mask": [C, R, T]}`."""
    texts = batch["text_embeds"], batch["text_mask"]
    fused_cls = albef.fuse_class(config, params, *texts, None, keys_values=keys_values)
    return albef.itm_logits(params, fused_cls)[..., 1]


def itm_scores(
    config: ModelConfig,
    params: Params,
    gallery: Gallery,
    encoded: Encoded,
    chosen: np.ndarray,
    mesh: Mesh,
    num_images: int,
    texts: int = TEXTS,
) -> np.ndarray:
    """Match logits `[N, M]`, -inf where a pair was not chosen; all processes must call it.

    Args:
        chosen: bool `[N, M]`.
        num_images: C of all processes together, in device memory at a time.
        texts: R.
    """
    scores = np.full(chosen.shape, -np.inf, np.float32)
    texts = min(texts, int(chosen.sum(axis=1).max(initial=1)))
    read, score = (partial(program, config, params) for program in (read_images, score_texts))
    shares, number = gallery.shares(), jax.process_index()
    for block, wanted_texts in schedule(chosen, shares, num_images // len(shares), texts)[number]:
        keys_values = read(to_devices(mesh, {"image": gallery.pixels(block)}))
        for wanted in wanted_texts:
            batch = {
                "text_embeds": encoded.text_embeds[wanted],
                "text_mask": gallery.text_mask[wanted],
            }
            logits = local_rows(mesh, score(keys_values, to_devices(mesh, batch)))
            here = block >= 0
            scores[block[here, None], wanted[here]] = logits[here]
    for share, rows in zip(shares, gather_rows(scores[shares[number]]), strict=True):
        scores[share] = rows
    return scores
