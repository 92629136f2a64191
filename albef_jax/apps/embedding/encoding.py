"""Encodes a collection shard by shard, on all local devices; any number of processes share it."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from albef_jax.apps.embedding import shards
from albef_jax.apps.embedding.shards import Manifest
from albef_jax.apps.search.item import Item, Items
from albef_jax.apps.search.reading import Content, read_ahead
from albef_jax.apps.search.storage import model_digest
from albef_jax.data.tokenizer import clean_caption
from albef_jax.errors import BadSample
from albef_jax.inference.inputs import padded
from albef_jax.inference.model import MAX_WORDS, Model
from albef_jax.inference.outputs import NotFinite
from albef_jax.inference.programs import Programs, damaged_weights
from albef_jax.observability import flops
from albef_jax.storage.paths import AnyPath

SHARD_SIZE = 4096


@dataclass(frozen=True)
class Embedded:
    """What a call has done.

    Attributes:
        shards: of them complete now, and in all.
        encoded: items that were encoded in this call.
        bad: items of it that could not be read.
        seconds: from the first batch to the last, reading and writing included.
        roof: share of the devices' peak that the encoder's operations took; None if it is unknown.
    """

    shards: tuple[int, int]
    encoded: int
    bad: int
    seconds: float
    roof: float | None

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.encoded / self.seconds if self.seconds else 0.0


def embed(
    model: Model,
    items: Items,
    folder: AnyPath,
    *,
    model_path: str = "",
    shard_size: int = SHARD_SIZE,
    dtype: str = "float32",
    tokens: bool = False,
    part: tuple[int, int] = (0, 1),
    threads: int = 8,
    bar: bool = False,
) -> Embedded:
    """Write the features of all items; go on where an earlier call was stopped.

    Args:
        folder: for the shards, see `shards`.
        model_path: kept in the manifest.
        shard_size: items of a shard, which are lost by a kill if it is not complete.
        dtype: of the features, float32 or float16.
        tokens: write the encoder's tokens, too.
        part: number of this process from 0, and how many share the work, each with shards of its
            own; they need not know of each other.
        threads: that read images.
        bar: show progress.

    Raises:
        CannotServe: the checkpoint has no features.
        SearchError: the folder holds something else.
        NotFinite: the weights are damaged.
    """
    model.need("image_proj", "features")
    manifest = Manifest(
        kind=items.kind,
        source=items.source,
        root=items.root,
        items=len(items.items),
        items_digest=items_digest(items),
        model={
            "path": model_path,
            "task": model.task,
            "image_size": model.config.image_size,
            "digest": model_digest(model),
        },
        embed_dim=model.config.embed_dim,
        shard_size=shard_size,
        dtype=dtype,
        tokens=tokens,
        caption_field=items.caption_field,
    )
    shards.begin(folder, manifest)
    number, count = part
    mine = range(number, manifest.shards, count)
    there = shards.complete_shards(folder, manifest)
    todo = [shard for shard in mine if shard not in there]
    encoder = _Encoder(model, items.kind, tokens)
    began, encoded, bad = time.perf_counter(), 0, 0
    total = sum(len(manifest.span(shard)) for shard in mine)
    left = sum(len(manifest.span(shard)) for shard in todo)
    with tqdm(total=total, initial=total - left, unit="item", disable=not bar) as progress:
        for shard in todo:
            span = manifest.span(shard)
            some = [items.items[number] for number in span]
            blocks = read_ahead(items, some, encoder.rows, model.config.image_size, threads)
            good, worst, made = _encode(encoder, span, blocks, progress)
            shards.write_shard(folder, shard, good, worst, made[0].astype(dtype), *made[1:])
            encoded, bad = encoded + len(good), bad + len(worst)
    seconds = time.perf_counter() - began
    done = len(shards.complete_shards(folder, manifest))
    roof = encoder.roof(encoded, seconds) if encoded else None
    return Embedded((done, manifest.shards), encoded, bad, seconds, roof)


def items_digest(items: Items) -> str:
    """Of names, sizes and times of all items."""
    return shards.digest(json.dumps(asdict(item)) for item in items.items)


def _encode(
    encoder: "_Encoder",
    span: range,
    blocks: Iterator[tuple[Sequence[Item], list[Content]]],
    progress: tqdm,
) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]], list[np.ndarray]]:
    """A shard: number and name of the good items, those of the bad ones with reasons, arrays."""
    good: list[tuple[int, str]] = []
    bad: list[tuple[int, str, str]] = []
    parts, first = [encoder.nothing()], span.start
    for part, contents in blocks:
        usable: list[Any] = []
        for number, (item, content) in enumerate(zip(part, contents, strict=True), first):
            if isinstance(content, BadSample):
                bad.append((number, item.name, content.reason))
            else:
                good.append((number, item.name))
                usable.append(content)
        if usable:
            parts.append(encoder(usable))
        first += len(part)
        progress.update(len(part))
    return good, bad, [np.concatenate(column) for column in zip(*parts, strict=True)]


class _Encoder:
    """A model's encoder over all local devices, a whole batch at a time."""

    def __init__(self, model: Model, kind: str, tokens: bool):
        self._model, self._kind, self._tokens = model, kind, tokens
        devices = jax.local_devices()
        mesh = Mesh(np.array(devices), ("rows",))
        self.rows = -(-model.batch_size // len(devices)) * len(devices)
        self._split = NamedSharding(mesh, PartitionSpec("rows"))
        self._params = jax.device_put(model.params, NamedSharding(mesh, PartitionSpec()))
        self._devices = devices
        programs = Programs(model.config)
        self._program = programs.encode_image if kind == "image" else programs.encode_text

    def __call__(self, contents: Sequence[Any]) -> list[np.ndarray]:
        """Features `[n, E]` of images uint8 `[S, S, 3]` or texts; if asked for, tokens `[n, N, D]`.

        Tokens nobody asked for stay on the device: those of a shard would fill gigabytes.
        """
        batch = jax.device_put(padded(self._arrays(contents), self.rows), self._split)
        feature, tokens = self._program(self._params, batch)
        found: list[np.ndarray] = [np.asarray(feature)[: len(contents)]]
        if not np.isfinite(found[0]).all():
            raise NotFinite(damaged_weights(self._model.params))
        if self._tokens:
            found.append(np.asarray(tokens)[: len(contents)].astype(np.float16))
        return found

    def nothing(self) -> list[np.ndarray]:
        """The same of no items."""
        config = self._model.config
        shape = (0, self._model.tokenizer.text_len, config.text_width)
        if self._kind == "image":
            shape = (0, config.image_tokens, config.image_width)
        empty: list[np.ndarray] = [np.zeros((0, config.embed_dim), np.float32)]
        if self._tokens:
            empty.append(np.zeros(shape, np.float16))
        return empty

    def _arrays(self, contents: Sequence[Any]) -> dict[str, np.ndarray]:
        if self._kind == "image":
            return {"image": np.stack(contents)}
        texts = [clean_caption(text, MAX_WORDS) for text in contents]
        ids, mask = self._model.tokenizer.encode(texts)
        return {"text_ids": ids, "text_mask": mask}

    def roof(self, items: int, seconds: float) -> float | None:
        """The share of the devices' peak that so many items in this time are."""
        peak = flops.peak(self._devices[0])
        if peak is None:
            return None
        config = self._model.config
        if self._kind == "image":
            one = sum(flops.image_encoder(config))
        else:
            one = flops.text_encoder(config, self._model.tokenizer.text_len)
        return items * one / (seconds * peak * len(self._devices))
