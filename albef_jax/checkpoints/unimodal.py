"""Starts the encoders from public checkpoints of one modality: BERT, and ViT or DeiT.

BERT's first layers become the text encoder, the next ones the fusion encoder (paper section 3.1),
whose cross-attention stays fresh, as does everything else that such a checkpoint cannot hold. A
table says what became of every module.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from albef_jax.checkpoints import torch_file
from albef_jax.checkpoints.hub import BESIDE, WEIGHTS, local_path
from albef_jax.checkpoints.start_table import Row, Status
from albef_jax.checkpoints.torch_file import CheckpointError
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.checkpoints.unimodal_names import image_tree, text_trees
from albef_jax.data.text import vocab_path
from albef_jax.models.resize import resize_position_embedding

Tree = dict[str, Any]
Arrays = dict[str, Any]  # of one module; an array on its own has the empty name
Modules = dict[str, Arrays]  # by path

# What the parts of all tasks' models start from: the image encoder, or a part of BERT. The parts
# that `warm_start` makes from fusion layers start from the same layers here.
_ORIGINS = {
    "image_encoder": "image",
    "text_encoder/embeddings": "embeddings",
    "text_encoder/layers": "text layers",
    "fusion_encoder/layers": "fusion layers",
    "pair_encoder/layers/first": "fusion layers",
    "pair_encoder/layers/second": "fusion layers",
    "answer_decoder/embeddings": "embeddings",
    "answer_decoder/layers": "fusion layers",
    "answer_decoder/head": "head",
    "mlm_head": "head",
}
_BY_WORD = ("embeddings/word", "head/bias")  # a row for each word
# A row for each of these: the first ones are taken.
_BY_ROW = {
    "embeddings/position": "positions",
    "embeddings/type": "segments",
    "text layers": "layers",
    "fusion layers": "layers",
}


@dataclass(frozen=True)
class Encoder:
    """A checkpoint of one encoder, float32.

    Attributes:
        params: of a ViT our `image_encoder`; of a BERT `embeddings`, all its `layers` `[L, ...]`,
            and `head`, named as `mlm_head`, where it has one.
        heads: of its attention, or None where no `config.json` tells.
        words: the rows of a BERT's word embeddings, or None where no `vocab.txt` tells.
        unused: parameters that our model has no place for, by name.
        file: where the weights were.
    """

    params: Tree
    heads: int | None
    words: list[str] | None
    unused: dict[str, np.ndarray]
    file: Path


@dataclass(frozen=True)
class _Source:
    """The modules of an encoder by origin, as `_ORIGINS` names them, and which words they know."""

    modules: Modules
    unused: dict[str, np.ndarray]
    file: Path
    words: "_Rows | None" = None


@dataclass(frozen=True)
class _Rows:
    """Rows `here` of an array that are rows `there` of another, and what to say of the others."""

    here: np.ndarray
    there: np.ndarray
    note: str

    @staticmethod
    def first(here: int, there: int, what: str) -> "_Rows":
        """As many of the first rows as both have."""
        rows = np.arange(min(here, there))
        note = f"cut from {there} to {here} {what}"
        return _Rows(rows, rows, f"{there} of {here} {what}, the others new" if there < here else note)


def read_text_encoder(path: str | Path) -> Encoder:
    """A BERT: a directory with `WEIGHTS`, or a file; `config.json` and `vocab.txt` beside it count.

    `BertModel`, `BertForMaskedLM` and `BertForPreTraining` of `transformers` are known, with names
    of all times, and what else has a BERT under those names.

    Raises:
        CheckpointError: there is none, it is damaged, or another kind of model.
    """
    file = _weights_file(Path(path))
    config = _read_config(file)
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{file}: another kind of BERT: its positions are not absolute")
    tree, unused = _named(file, text_trees)
    rows = len(tree["embeddings"]["word"]["embedding"])
    vocab = file.with_name("vocab.txt")
    words = _read_words(vocab) if vocab.is_file() else None
    if words and len(words) > rows:
        raise CheckpointError(f"{vocab}: {len(words)} words, but {file.name} has {rows}")
    return Encoder(tree, config.get("num_attention_heads"), words, unused, file)


def read_image_encoder(path: str | Path) -> Encoder:
    """A ViT or DeiT, given as for `read_text_encoder`, with the names of timm or `transformers`.

    Raises:
        CheckpointError: as there.
    """
    file = _weights_file(Path(path))
    config = _read_config(file)
    tree, unused = _named(file, image_tree)
    return Encoder(tree, config.get("num_attention_heads"), None, unused, file)


def warm_start_encoders(config: ConfigDict, params: Mapping[str, Any]) -> tuple[Tree, list[Row]]:
    """A task's fresh parameters with what the encoders of `init.text` and `init.vision` have.

    Either may be empty. No array of the result shares memory with another.

    Raises:
        CheckpointError: no such checkpoint, or one of another size.
    """
    model = config.model
    sources: dict[str, _Source] = {}
    if config.init.vision:
        image = read_image_encoder(local_path(config.init.vision, "init.vision"))
        _check_sizes(image, "image", {"image_encoder": image.params}, model)
        modules = _modules({"image": image.params})
        _fit_positions(modules, (model.image_size // model.patch_size) ** 2, image.file)
        sources["image"] = _Source(modules, image.unused, image.file)
    if config.init.text:
        text = read_text_encoder(local_path(config.init.text, "init.text"))
        _check_sizes(text, "text", {"text_encoder": text.params}, model)
        words = _word_rows(text, config.data.vocab, model.vocab_size)
        source = _Source(_modules(_dealt(text, model)), text.unused, text.file, words)
        sources |= dict.fromkeys({*_ORIGINS.values()} - {"image"}, source)
    filled, rows = {}, []
    for path, arrays in _modules(params).items():
        filled[path], row = _start(path, arrays, sources)
        rows.append(row)
    for source in {id(source): source for source in sources.values()}.values():
        for name, array in source.unused.items():
            rows.append(Row.of("student", name, "unused", {"": array}, ""))
    return _tree(filled), rows
