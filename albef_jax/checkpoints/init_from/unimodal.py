"""Reads public checkpoints of one encoder: BERT for the text, ViT or DeiT for the images."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.checkpoints.init_from.hub import WEIGHTS
from albef_jax.checkpoints.init_from.unimodal_names import image_tree, text_trees
from albef_jax.checkpoints.official import weights_file
from albef_jax.errors import CheckpointError

Tree = dict[str, Any]
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Encoder:
    """A checkpoint of one encoder.

    Attributes:
        params: float32. For a ViT our `image_encoder`; for a BERT `embeddings`, all its `layers`
            `[L, ...]`, and `head`, like our `mlm_head`, if it has one.
        heads: of its attention, or None without a `config.json`.
        words: of a BERT's word embeddings in order, or None without a `vocab.txt`.
        unused: names of parameters that our model lacks.
        file: of the weights.
    """

    params: Tree
    heads: int | None
    words: list[str] | None
    unused: State
    file: Path


def read_text_encoder(path: str | Path) -> Encoder:
    """A BERT with the names of `transformers`, old or new.

    Args:
        path: `.safetensors`, a PyTorch file under any other name, or a directory with one of
            `hub.WEIGHTS`. `config.json` and `vocab.txt` beside it are read too.

    Raises:
        CheckpointError: there is none, it is damaged, or of another kind of model.
    """
    file = _weights_file(Path(path))
    config = _read_config(file)
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise CheckpointError(f"{file}: another kind of BERT: its positions are {kind}")
    tree, unused = _read(file, text_trees)
    vocab = file.with_name("vocab.txt")
    words = read_words(vocab) if vocab.is_file() else None
    rows = len(tree["embeddings"]["word"]["embedding"])
    if "head" in tree and tree["head"]["bias"].shape != (rows,):
        shape = tree["head"]["bias"].shape
        raise CheckpointError(f"{file}: a vocabulary head {shape} on embeddings of {rows} words")
    if words and len(words) > rows:
        raise CheckpointError(
            f"{vocab}: {len(words)} words, but {file.name} has embeddings of {rows}; put the "
            "vocabulary of this model beside it, or none"
        )
    return Encoder(tree, config.get("num_attention_heads"), words, unused, file)


def read_image_encoder(path: str | Path) -> Encoder:
    """A ViT or DeiT with the names of timm or of `transformers`; `path` as for a BERT.

    Raises:
        CheckpointError: there is none, it is damaged, or of another kind of model.
    """
    file = _weights_file(Path(path))
    config = _read_config(file)
    tree, unused = _read(file, image_tree)
    return Encoder(tree, config.get("num_attention_heads"), None, unused, file)


def read_words(vocab: Path) -> list[str]:
    """The pieces of a WordPiece vocabulary, one a line."""
    return vocab.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or directory")
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        f"{path}: no {' and no '.join(WEIGHTS)} in this directory; name the file itself, or copy "
        "one of these there"
    )


def _read(file: Path, trees: Callable[[State], tuple[Tree, State]]) -> tuple[Tree, State]:
    """The file's parameters as `trees` sorts them."""
    state = weights_file.read_weights(file).state
    try:
        return trees(state)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _read_config(file: Path) -> dict[str, Any]:
    """The contents of `config.json` beside the weights; empty if there is none."""
    path = file.with_name("config.json")
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    activation = config.get("hidden_act", "gelu")
    # the approximations of GELU differ from it by less than 0.001
    if not str(activation).startswith("gelu"):
        raise CheckpointError(f"{path}: hidden_act is {activation!r}; our encoders compute gelu")
    return config
