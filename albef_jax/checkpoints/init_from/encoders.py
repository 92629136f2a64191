"""Starts a task's encoders from public checkpoints of one modality each, by a table of origins.

BERT's first layers become the text encoder, the next ones the fusion encoder (paper section 3.1).
Cross-attention and everything else that such checkpoints lack stays fresh. Rows list the outcome
for every module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from albef_jax.checkpoints.init_from.hub import local_path
from albef_jax.checkpoints.init_from.report import ModuleOrigin, Status
from albef_jax.checkpoints.init_from.unimodal import (
    Encoder,
    read_image_encoder,
    read_text_encoder,
    read_words,
)
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.data.tokenizer import vocab_path
from albef_jax.errors import CheckpointError
from albef_jax.models.position_embedding import resize_position_embedding

Tree = dict[str, Any]
Arrays = dict[str, Any]  # of one module; an array on its own has the empty name
Modules = dict[str, Arrays]  # by path

# What the parts of all tasks' models start from: a ViT, or a part of BERT. What `checkpoint` makes
# of fusion layers comes from the same layers here.
_ORIGINS = {
    "image_encoder": "image",
    "text_encoder/embeddings": "embeddings",
    "text_encoder/layers": "text",
    "fusion_encoder/layers": "fusion",
    "pair_encoder/layers/first": "fusion",
    "pair_encoder/layers/second": "fusion",
    "answer_decoder/embeddings": "embeddings",
    "answer_decoder/layers": "fusion",
    "answer_decoder/head": "head",
    "mlm_head": "head",
}
# Sizes that must be equal, by option.
_TEXT_SIZES = ("text_width", "text_intermediate", "text_heads")
_IMAGE_SIZES = ("image_stem", "patch_size", "image_width", "image_depth", "image_heads")
_SEGMENTS = 2


@dataclass(frozen=True)
class _Rows:
    """Rows `here` of a fresh array are rows `there` of the checkpoint's.

    The note is empty if these are all rows of both, in order.
    """

    here: np.ndarray
    there: np.ndarray
    note: str


@dataclass(frozen=True)
class _Found:
    """A module's arrays in a checkpoint, and which of their rows to take if not all."""

    arrays: Arrays
    rows: _Rows | None = None
    note: str = ""


def warm_start_encoders(
    config: ConfigDict, params: Mapping[str, Any]
) -> tuple[Tree, list[ModuleOrigin]]:
    """A task's fresh parameters with the weights of `init.text` and `init.vision`.

    Either option may be empty. No two arrays of the result share memory.

    Args:
        params: on the host.

    Returns:
        The parameters, and the rows of `report.format_table`.

    Raises:
        CheckpointError: no such checkpoint, or one of another size.
    """
    found: dict[str, _Found] = {}
    unused: dict[str, np.ndarray] = {}
    if config.init.text:
        text = read_text_encoder(local_path(config.init.text, "init.text"))
        found |= _text_modules(text, config)
        unused |= text.unused
    if config.init.vision:
        image = read_image_encoder(local_path(config.init.vision, "init.vision"))
        found |= _image_modules(image, config.model)
        unused |= image.unused
    filled: Modules = {}
    rows = []
    for path, arrays in _modules(params).items():
        filled[path], row = _start(path, arrays, found, config.init)
        rows.append(row)
    rows += [ModuleOrigin.of("student", name, "unused", {"": a}, "") for name, a in unused.items()]
    return unflatten_dict(_flat(filled)), rows


def _start(
    path: str, fresh: Arrays, found: Mapping[str, _Found], init: ConfigDict
) -> tuple[Arrays, ModuleOrigin]:
    """A module's start, and its row."""
    origin = _origin(path)
    option = "vision" if origin.startswith("image/") else "text"
    started = {name: np.array(array) for name, array in fresh.items()}
    if origin not in found:
        note = "not in the checkpoint" if origin and init[option] else ""
        return started, ModuleOrigin.of("student", path, "new", fresh, note)
    source = found[origin]
    rows = source.rows
    for name, array in started.items():
        theirs = source.arrays[name]
        alike = slice(None) if rows is None else slice(1, None)
        if theirs.shape[alike] != array.shape[alike]:
            raise CheckpointError(
                f"init.{option}={init[option]}: {path} is {theirs.shape} there, {array.shape} here"
            )
        if rows is None:
            array[...] = theirs
        else:
            array[rows.here] = theirs[rows.there]
    status: Status = "resized" if source.note else "loaded"
    return started, ModuleOrigin.of("student", path, status, fresh, source.note)


def _origin(path: str) -> str:
    """The origin of a module; empty for those that no encoder's checkpoint has."""
    for ours, theirs in _ORIGINS.items():
        if path == ours or path.startswith(f"{ours}/"):
            return theirs + path.removeprefix(ours)
    return ""


def _text_modules(text: Encoder, config: ConfigDict) -> dict[str, _Found]:
    """BERT's modules by origin, with its layers distributed in order."""
    model = config.model
    _check_sizes(text, sizes_of({"text_encoder": text.params}), "text_heads", _TEXT_SIZES, model)
    depths = {"text": model.text_depth, "fusion": model.fusion_depth}
    tree = {**text.params, **_deal(text, depths)}
    del tree["layers"]
    words = _word_rows(text, config.data.vocab, model.vocab_size)
    found = {}
    for path, arrays in _modules(tree).items():
        rows, there = None, len(next(iter(arrays.values())))
        part = path.partition("/")[0]
        if path in ("embeddings/word", "head/bias"):
            rows = words
        elif path == "embeddings/position":
            rows = _first_rows(model.max_positions, there, "positions")
        elif path == "embeddings/type":
            rows = _first_rows(_SEGMENTS, there, "segments")
        elif part in depths:
            rows = _first_rows(depths[part], there, "layers")
        found[path] = _Found(arrays, rows, rows.note if rows else "")
    return found


def _deal(text: Encoder, depths: Mapping[str, int]) -> Tree:
    """BERT's layers for each part of the model; a part for which none are left is absent."""
    layers = text.params["layers"]
    count, room = len(layers["norm"]["scale"]), sum(depths.values())
    if count > room:
        raise CheckpointError(
            f"{text.file}: {count} layers there, but model.text_depth={depths['text']} and "
            f"model.fusion_depth={depths['fusion']} have room for {room}; set both so that they "
            f"make {count}"
        )
    dealt, start = {}, 0
    for part, depth in depths.items():
        if start < count:
            dealt[part] = jax.tree.map(lambda x, a=start, b=start + depth: x[a:b], layers)
        start += depth
    return dealt


def _first_rows(here: int, there: int, what: str) -> _Rows:
    """As many of the first rows as both have."""
    rows = np.arange(min(here, there))
    if here == there:
        return _Rows(rows, rows, "")
    more = f"the first {there} of {here} {what}, the others new"
    return _Rows(rows, rows, f"cut from {there} to {here} {what}" if there > here else more)


def _word_rows(text: Encoder, vocab: str, here: int) -> _Rows:
    """Word by word if both vocabularies are known, else row by row."""
    there = len(text.params["embeddings"]["word"]["embedding"])
    if text.words is None:
        rows = _first_rows(here, there, "words")
        note = rows.note and f"{rows.note}; by row, since no vocab.txt is there"
        return _Rows(rows.here, rows.there, note)
    ours = read_words(vocab_path(vocab))
    theirs = {word: row for row, word in enumerate(text.words)}
    pairs = [(row, theirs[word]) for row, word in enumerate(ours) if word in theirs]
    rows_here, rows_there = np.array(pairs, np.int64).reshape(-1, 2).T
    if here == there and ours == text.words:
        return _first_rows(here, there, "words")
    note = f"{len(pairs)} of {len(ours)} words, {len(ours) - len(pairs)} new"
    return _Rows(rows_here, rows_there, note)


def _image_modules(image: Encoder, model: ConfigDict) -> dict[str, _Found]:
    """A ViT's modules by origin, its positions for images of our size."""
    tree = {"image_encoder": image.params}
    _check_sizes(image, sizes_of(tree), "image_heads", _IMAGE_SIZES, model)
    found = {path: _Found(arrays) for path, arrays in _modules({"image": image.params}).items()}
    positions = image.params["pos_embed"]
    old, new = positions.shape[1] - 1, (model.image_size // model.patch_size) ** 2
    if old != new:
        try:
            resized = np.asarray(resize_position_embedding(positions, new))
        except ValueError as error:
            raise CheckpointError(f"{image.file}: {error}") from error
        found["image/pos_embed"] = _Found({"": resized}, note=f"from {old} to {new} patches")
    return found


def _check_sizes(
    encoder: Encoder, sizes: dict[str, int], heads: str, options: tuple[str, ...], model: ConfigDict
) -> None:
    if encoder.heads is not None:
        sizes = {**sizes, heads: encoder.heads}
    wrong = [
        f"model.{option} is {sizes[option]} there and {model[option]} here"
        for option in options
        if sizes.get(option, model[option]) != model[option]
    ]
    if wrong:
        raise CheckpointError(
            f"{encoder.file}: the checkpoint is of another size: {'; '.join(wrong)}; set the sizes "
            "as they are there, or choose another checkpoint"
        )


def _modules(tree: Mapping[str, Any]) -> Modules:
    """Arrays by the path of their module; an array beside modules is a module of its own."""
    flat = flatten_dict(tree)
    mixed = {path[:n] for path in flat for n in range(len(path) - 1)}
    modules: Modules = {}
    for path, array in flat.items():
        own = path[:-1] in mixed
        modules.setdefault("/".join(path if own else path[:-1]), {})["" if own else path[-1]] = (
            array
        )
    return modules


def _flat(modules: Modules) -> dict[tuple[str, ...], Any]:
    return {
        (*path.split("/"), *filter(None, [name])): array
        for path, arrays in modules.items()
        for name, array in arrays.items()
    }
