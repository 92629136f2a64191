"""The pictures and captions of an evaluation, encoded once.

Shape letters: N pictures, M captions, S image side, T text tokens, D text width, E embed_dim.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.data.augment import EvalTransform
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.pipeline import eval_batches
from albef_jax.data.records import PairSource
from albef_jax.data.text import Tokenizer, clean_caption
from albef_jax.evaluate.soundness import check_finite
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.pixels import normalize
from albef_jax.models.sizes import ModelConfig
from albef_jax.train.mesh import fetch, spread


class NothingToEvaluate(Exception):
    """Not one picture of the evaluation set can be used."""


@dataclass(frozen=True)
class Gallery:
    """Pictures and captions as read; picture `image_of_text[j]` is caption j's own."""

    images: np.ndarray  # uint8 [N, S, S, 3]
    captions: list[str]
    text_ids: np.ndarray  # int32 [M, T]
    text_mask: np.ndarray  # int32 [M, T]
    image_of_text: np.ndarray  # int64 [M]


def read_gallery(
    source: PairSource,
    tokenizer: Tokenizer,
    bad_samples: BadSamples,
    *,
    image_size: int,
    pairs: int,
    rows: int,
    max_words: int,
    threads: int,
) -> Gallery:
    """The first `pairs` pictures of a source, with all their captions; bad ones are left out.

    Raises:
        NothingToEvaluate: not one picture can be used.
    """
    batches = eval_batches(
        source,
        EvalTransform(image_size),
        rows,
        bad_samples=bad_samples,
        indices=range(min(pairs, len(source))),
        threads=threads,
    )
    images: list[np.ndarray] = []
    captions: list[str] = []
    image_of_text: list[int] = []
    for batch in batches:
        for row in np.flatnonzero(batch["valid"]):
            image_of_text += [len(images)] * len(batch["captions"][row])
            captions += batch["captions"][row]
            images.append(batch["image"][row])
    if not images:
        raise NothingToEvaluate("no picture to evaluate on could be read")
    text_ids, text_mask = tokenizer.encode([clean_caption(text, max_words) for text in captions])
    return Gallery(np.stack(images), captions, text_ids, text_mask, np.array(image_of_text))


@dataclass(frozen=True)
class Encoded:
    """What the student makes of a gallery; text tokens wait in host memory for ITM."""

    image_feat: np.ndarray  # [N, E]
    text_embeds: np.ndarray  # [M, T, D]
    text_feat: np.ndarray  # [M, E]


def padded_chunks(size: int, rows: int) -> Iterator[np.ndarray]:
    """Row numbers 0 .. size - 1 in equal chunks; the last one repeats its final row."""
    for start in range(0, size, rows):
        yield np.minimum(np.arange(start, start + rows), size - 1)


def run_in_chunks(
    function: Callable, mesh: Mesh, rows: int, arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Apply a jitted function of a batch dict to `arrays`, `rows` at a time: one compilation.

    Returns:
        The function's outputs, joined, in host memory.
    """
    size = len(next(iter(arrays.values())))
    outputs = []
    for chunk in padded_chunks(size, rows):
        batch = spread(mesh, {name: array[chunk] for name, array in arrays.items()})
        outputs.append(fetch(function(batch)))
    return tuple(np.concatenate(parts)[:size] for parts in zip(*outputs, strict=True))


def encode(config: ModelConfig, params: Params, gallery: Gallery, mesh: Mesh, rows: int) -> Encoded:
    """Encode pictures and captions, `rows` at a time; `UnsoundScores` if features hold NaN."""

    @jax.jit
    def image(params, batch):
        embeds = albef.encode_image(config, params, normalize(batch["image"]))
        return (albef.image_feature(params, embeds),)

    @jax.jit
    def text(params, batch):
        embeds = albef.encode_text(config, params, batch["text_ids"], batch["text_mask"])
        return embeds, albef.text_feature(params, embeds)

    (images,) = run_in_chunks(partial(image, params), mesh, rows, {"image": gallery.images})
    check_finite("image features", images)  # before the longer work
    texts = {"text_ids": gallery.text_ids, "text_mask": gallery.text_mask}
    embeds, features = run_in_chunks(partial(text, params), mesh, rows, texts)
    check_finite("text features", features)
    return Encoded(images, embeds, features)
