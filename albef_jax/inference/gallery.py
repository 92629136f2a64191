"""The images and captions of an evaluation, encoded once.

Shape letters: N images, M captions, S image side, T text tokens, D text width, E embed_dim.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from albef_jax.distributed.mesh import fetch, local_rows, shard_replicated, to_devices
from albef_jax.distributed.sync import gather_from_all, gather_rows
from albef_jax.errors import NothingToEvaluate
from albef_jax.inference.soundness import check_finite
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


@dataclass(frozen=True)
class Gallery:
    """Images and captions as read; image `image_of_text[j]` is caption j's own.

    All processes know all captions, but each has only the images that it has read.

    `same_pixels` counts records whose image equals one with another id pixel for pixel; they are
    merged, with their captions. `names` are those of the images' first records.
    """

    images: np.ndarray  # uint8 [n, S, S, 3], those of this process in order
    captions: list[str]
    text_ids: np.ndarray  # int32 [M, T]
    text_mask: np.ndarray  # int32 [M, T]
    image_of_text: np.ndarray  # int64 [M]
    same_pixels: int = 0
    names: tuple[str, ...] = ()
    holder: np.ndarray | None = None  # int64 [N], the process that has an image; None: this one

    @property
    def num_images(self) -> int:
        """N, of all processes."""
        return len(self.images if self.holder is None else self.holder)

    def shares(self) -> list[np.ndarray]:
        """Numbers of the images that each process has."""
        if self.holder is None:
            return [np.arange(len(self.images))]
        return [np.flatnonzero(self.holder == number) for number in range(jax.process_count())]

    def pixels(self, numbers: np.ndarray) -> np.ndarray:
        """Images of this process, uint8 `[len(numbers), S, S, 3]`; a black one for number -1."""
        found = np.zeros((len(numbers), *self.images.shape[1:]), np.uint8)
        own = self.shares()[jax.process_index()]
        wanted = numbers >= 0
        found[wanted] = self.images[np.searchsorted(own, numbers[wanted])]
        return found

    def shown(self, numbers: Iterable[int]) -> dict[int, np.ndarray]:
        """A few images of any process by their numbers; all processes must call it."""
        wanted = np.fromiter(numbers, np.int64)
        mine = np.intersect1d(wanted, self.shares()[jax.process_index()])
        told = zip(gather_rows(mine), gather_rows(self.pixels(mine)), strict=True)
        return {int(n): image for own in told for n, image in zip(*own, strict=True)}

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
    Each process reads its rows of every batch; all must call it.

    Args:
        rows: of a batch, of all processes.

    Raises:
        NothingToEvaluate: no image can be used.
    """
    share = jax.process_index(), jax.process_count()
    batches = eval_batches(
        source,
        EvalTransform(image_size),
        rows,
        bad_samples=bad_samples,
        share=share,
        threads=threads,
    )
    found, images = _Found(pairs), []
    with closing(batches):
        for batch in batches:
            usable = np.flatnonzero(batch["valid"])
            told = [found.record(batch, int(row)) for row in usable]
            for process, records in enumerate(gather_from_all(told)):
                new = [place for place, one in enumerate(records) if found.add(one, process)]
                if process == share[0]:
                    images += [batch["image"][usable[place]] for place in new]
            if found.full:
                break
    if not found.names:
        raise NothingToEvaluate("no image to evaluate on could be read")
    captions = [clean_caption(text, max_words) for text in found.captions]
    text_ids, text_mask = tokenizer.encode(captions)
    blank = np.zeros((0, image_size, image_size, 3), np.uint8)
    return Gallery(
        np.stack(images) if images else blank,
        found.captions,
        text_ids,
        text_mask,
        np.array(found.image_of_text),
        len(found.place_of_id) - len(found.place_of_pixels),
        tuple(found.names),
        np.array(found.holder) if share[1] > 1 else None,
    )


Record = tuple[int, str, str, Sequence[str]]  # image id, digest of its pixels, name, captions


class _Found:
    """What reading has found so far, the same on all processes: everything but the images.

    Args:
        most: images to take.
    """

    def __init__(self, most: int):
        self._most = most
        self.full = False
        self.names: list[str] = []
        self.holder: list[int] = []
        self.captions: list[str] = []
        self.image_of_text: list[int] = []
        self.place_of_id: dict[int, int] = {}
        self.place_of_pixels: dict[str, int] = {}

    def record(self, batch: Batch, row: int) -> Record:
        """What all processes are told of a row."""
        image_id, digest = int(batch["image_id"][row]), ""
        if image_id not in self.place_of_id:
            digest = hashlib.blake2b(batch["image"][row].tobytes(), digest_size=16).hexdigest()
        return image_id, digest, str(batch["name"][row]), list(batch["captions"][row])

    def add(self, record: Record, process: int) -> bool:
        """Take a record, if there is room; whether its image is new."""
        image_id, digest, name, captions = record
        if self.full:
            return False
        if (place := self.place_of_id.get(image_id)) is None:
            place = self.place_of_pixels.setdefault(digest, len(self.names))
            self.place_of_id[image_id] = place
        if place == self._most:
            self.full = True
            return False
        new = place == len(self.names)
        if new:
            self.names.append(name)
            self.holder.append(process)
        self.image_of_text += [place] * len(captions)
        self.captions += captions
        return new


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


def run_local_in_chunks(
    function: Callable, mesh: Mesh, rows: int, arrays: dict[str, np.ndarray], most: int
) -> tuple[np.ndarray, ...]:
    """`run_in_chunks` on arrays of which each process has rows of its own, perhaps none.

    Args:
        most: rows that a process has.

    Returns:
        The function's outputs for this process's rows.
    """
    size, here = len(next(iter(arrays.values()))), rows // jax.process_count()
    outputs = []
    for start in range(0, most, here):
        part = {name: array[start : start + here] for name, array in arrays.items()}
        batch = {
            name: np.concatenate([own, np.zeros((here - len(own), *own.shape[1:]), own.dtype)])
            for name, own in part.items()
        }
        outputs.append(local_rows(mesh, function(to_devices(mesh, batch))))
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
    shares = gallery.shares()
    own = partial(image, params), mesh, rows, {"image": gallery.images}
    (features,) = run_local_in_chunks(*own, most=max(map(len, shares)))
    images = np.zeros((gallery.num_images, config.embed_dim), features.dtype)
    for share, part in zip(shares, gather_rows(features), strict=True):
        images[share] = part
    check_finite("image features", images)  # before the longer computation
    texts = {"text_ids": gallery.text_ids, "text_mask": gallery.text_mask}
    embeds, features = run_in_chunks(partial(text, params), mesh, rows, texts)
    check_finite("text features", features)
    return Encoded(images, embeds, features)
