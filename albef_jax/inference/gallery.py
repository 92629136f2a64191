"""The images and captions of an evaluation, encoded once.

Shape letters: N images, M captions, S image side, T text tokens, D text width, E embed_dim.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import Batch, eval_batches
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.records import PairSource
from albef_jax.data.tokenizer import Tokenizer, clean_caption
from albef_jax.distributed.mesh import fetch, shard_replicated
from albef_jax.errors import NothingToEvaluate
from albef_jax.inference.soundness import check_finite
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


@dataclass(frozen=True)
class Gallery:
    """Images and captions as read; image `image_of_text[j]` is caption j's own.

    `same_pixels` counts records whose image equals one with another id pixel for pixel; they are
    merged, with their captions. `names` are those of the images' first records.
    """

    images: np.ndarray  # uint8 [N, S, S, 3]
    captions: list[str]
    text_ids: np.ndarray  # int32 [M, T]
    text_mask: np.ndarray  # int32 [M, T]
    image_of_text: np.ndarray  # int64 [M]
    same_pixels: int = 0
    names: tuple[str, ...] = ()

    def text_number(self) -> np.ndarray:
        """A number for each caption, `[M]`, equal for captions of equal tokens."""
        return np.unique(self.text_ids, axis=0, return_inverse=True)[1].reshape(-1)

    def shared_captions(self) -> int:
        """How many captions have the tokens of a caption of another image."""
        number = self.text_number()
        pairs = np.unique(np.stack([number, self.image_of_text]), axis=1)
        images_of = np.bincount(pairs[0])
        return int(np.sum(images_of[number] > 1))


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
    """The first `pairs` images of a source, with all their captions; bad ones are left out.

    Records with equal `image_id` are one image, and so are records whose images are equal pixel for
    pixel, as in tar shards with one caption a sample. Reading ends where image `pairs + 1` begins.

    Raises:
        NothingToEvaluate: no image can be used.
    """
    batches = eval_batches(
        source,
        EvalTransform(image_size),
        rows,
        bad_samples=bad_samples,
        threads=threads,
    )
    images: list[np.ndarray] = []
    names: list[str] = []
    captions: list[str] = []
    image_of_text: list[int] = []
    place_of_id: dict[int, int] = {}
    place_of_pixels: dict[bytes, int] = {}
    with closing(batches):
        for image, image_id, name, texts in _usable(batches):
            if (place := place_of_id.get(image_id)) is None:
                pixels = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                place = place_of_pixels.setdefault(pixels, len(images))
                place_of_id[image_id] = place
            if place == pairs:
                break
            if place == len(images):
                images.append(image)
                names.append(name)
            image_of_text += [place] * len(texts)
            captions += texts
    if not images:
        raise NothingToEvaluate("no image to evaluate on could be read")
    text_ids, text_mask = tokenizer.encode([clean_caption(text, max_words) for text in captions])
    return Gallery(
        np.stack(images),
        captions,
        text_ids,
        text_mask,
        np.array(image_of_text),
        len(place_of_id) - len(place_of_pixels),
        tuple(names),
    )


def _usable(batches: Iterable[Batch]) -> Iterator[tuple[np.ndarray, int, str, tuple[str, ...]]]:
    """Image, image id, name and captions of the records that could be read."""
    for batch in batches:
        for row in np.flatnonzero(batch["valid"]):
            image, image_id = batch["image"][row], int(batch["image_id"][row])
            yield image, image_id, str(batch["name"][row]), batch["captions"][row]


@dataclass(frozen=True)
class Encoded:
    """The student's features of a gallery; text tokens stay in host memory for ITM."""

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
        batch = shard_replicated(mesh, {name: array[chunk] for name, array in arrays.items()})
        outputs.append(fetch(function(batch)))
    return tuple(np.concatenate(parts)[:size] for parts in zip(*outputs, strict=True))


# Compiled once for a model, however often a run is evaluated.
@partial(jax.jit, static_argnums=0)
def _encode_images(config: ModelConfig, params: Params, batch: Batch) -> tuple[jax.Array]:
    embeds = albef.encode_image(config, params, normalize(batch["image"]))
    return (albef.image_feature(params, embeds),)


@partial(jax.jit, static_argnums=0)
def _encode_texts(config: ModelConfig, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
    embeds = albef.encode_text(config, params, batch["text_ids"], batch["text_mask"])
    pooled = albef.pooled_tokens(config, batch["text_mask"])
    return embeds, albef.text_feature(params, embeds, pooled)


def encode(config: ModelConfig, params: Params, gallery: Gallery, mesh: Mesh, rows: int) -> Encoded:
    """Encode images and captions, `rows` at a time; `UnsoundScores` if features hold NaN."""
    image, text = (partial(program, config) for program in (_encode_images, _encode_texts))
    (images,) = run_in_chunks(partial(image, params), mesh, rows, {"image": gallery.images})
    check_finite("image features", images)  # before the longer computation
    texts = {"text_ids": gallery.text_ids, "text_mask": gallery.text_mask}
    embeds, features = run_in_chunks(partial(text, params), mesh, rows, texts)
    check_finite("text features", features)
    return Encoded(images, embeds, features)
