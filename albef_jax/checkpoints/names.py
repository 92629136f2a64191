"""Turns published PyTorch state dicts into our parameter trees and back, by `name_table`.

Published momentum twins, whose first part ends in `_m`, make up the teacher. Tied weights are
published under two names (LEDGER, checkpoint names) and kept once here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from albef_jax.checkpoints.name_table import BERT, FUSED, PRETRAIN, PRETRAIN_TEACHER, Row
from albef_jax.checkpoints.torch_file import CheckpointError

_QUEUES = ("image_queue", "text_queue")
_POINTER = "queue_ptr"
_POSITIONS = f"{BERT}.embeddings.position_ids"
_TIED = {
    "text_encoder.cls.predictions.decoder.weight": f"{BERT}.embeddings.word_embeddings.weight",
    "text_encoder.cls.predictions.decoder.bias": "text_encoder.cls.predictions.bias",
}


@dataclass(frozen=True)
class Published:
    """A published pre-training checkpoint in our form.

    Attributes:
        params: the student's nested dictionary, float32.
        teacher: the momentum twins, the same without `itm_head` and `temperature`.
        queues: `image_queue` and `text_queue` `[Q, E]` float32, and `queue_ptr`, an int.
        unused: names that the model has no place for.
    """

    params: dict[str, Any]
    teacher: dict[str, Any]
    queues: dict[str, Any]
    unused: list[str]


def from_published(state: Mapping[str, np.ndarray], *, fusion_layer: int) -> Published:
    """The published pre-training checkpoint `state` as our trees.

    Args:
        state: published names to arrays, as `torch_file.read_state_dict` returns them.
        fusion_layer: how many BERT layers come before fusion (6 in the published model).

    Raises:
        CheckpointError: names missing (all are listed), tied weights that differ, or arrays whose
            axes are not what the table says.
    """
    if fusion_layer < 1:
        raise ValueError(f"fusion_layer must be at least 1, not {fusion_layer}")
    student = {row: _layer_names(row, state, fusion_layer) for row in PRETRAIN}
    teacher = {row: [_twin(name) for name in student[row]] for row in PRETRAIN_TEACHER}
    needed = [*chain(*student.values(), *teacher.values()), *_QUEUES, _POINTER]
    missing = [name for name in needed if name not in state]
    if missing:
        raise CheckpointError(
            f"not a pre-training checkpoint with fusion_layer {fusion_layer}: {len(missing)} "
            f"names are missing: {', '.join(missing)}"
        )
    _check_tied(state)
    known = {*needed, *_TIED, *map(_twin, _TIED), _POSITIONS, _twin(_POSITIONS)}
    return Published(
        params=_tree(student, state),
        teacher=_tree(teacher, state),
        queues=_queues(state),
        unused=[name for name in state if name not in known],
    )


def to_published(
    params: Mapping[str, Any], teacher: Mapping[str, Any], queues: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The state dict that the published code would save: the inverse of `from_published`.

    Tied weights appear under both names; position numbers (`[1, P]`) and the queue pointer
    (`[1]`) are int64, as published.

    Raises:
        CheckpointError: a tree that lacks a parameter, or has one that has no published name.
    """
    student = to_published_params(params)
    twins = {_twin(name): array for name, array in _flat(teacher, PRETRAIN_TEACHER).items()}
    state = student | twins
    for second, first in _TIED.items():
        state |= {second: state[first], _twin(second): state[_twin(first)]}
    length = params["text_encoder"]["embeddings"]["position"]["embedding"].shape[0]
    positions = np.arange(length, dtype=np.int64)[None]
    state |= {_POSITIONS: positions, _twin(_POSITIONS): positions}
    state |= {name: np.array(np.transpose(queues[name]), order="C") for name in _QUEUES}
    return state | {_POINTER: np.array([queues[_POINTER]], np.int64)}


def to_published_params(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The student's parameters, or a tree like them such as gradients, by published name.

    Axes are in PyTorch's order and stacks are taken apart; a tied weight appears once, under its
    first name. Arrays may be numpy or jax.

    Raises:
        CheckpointError: as `to_published`.
    """
    return _flat(params, PRETRAIN)


def _twin(name: str) -> str:
    """The momentum copy's name: `text_proj.bias` -> `text_proj_m.bias`."""
    module, _, rest = name.partition(".")
    return f"{module}_m.{rest}"


def _layer_names(row: Row, state: Iterable[str], fusion_layer: int) -> list[str]:
    """The published names of one row: one, or one for each layer of its stack."""
    prefix, stacked, _ = row.name.partition("{}")
    if not stacked:
        return [row.name]
    numbers = {n.removeprefix(prefix).partition(".")[0] for n in state if n.startswith(prefix)}
    # a count, so that a gap in the numbers shows up as missing names; at least one layer each
    layers = range(max(len(numbers), 1))
    if row.path[0] == FUSED:
        layers = range(fusion_layer, max(len(numbers), fusion_layer + 1))
    elif row.path[0] == "text_encoder":
        layers = range(fusion_layer)
    return [row.name.format(layer) for layer in layers]


def _tree(names: Mapping[Row, list[str]], state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for row, published in names.items():
        layers = [_ours(state[name], name, row.axes) for name in published]
        if len({layer.shape for layer in layers}) > 1:
            raise CheckpointError(f"{row.name}: the layers of the stack differ in shape")
        node = tree
        for key in row.path[:-1]:
            node = node.setdefault(key, {})
        node[row.path[-1]] = np.stack(layers) if "{}" in row.name else layers[0]
    return tree


def _ours(array: np.ndarray, name: str, axes: tuple[int, ...] | None) -> np.ndarray:
    if axes and array.ndim != len(axes):
        raise CheckpointError(f"{name}: shape {array.shape}; it should have {len(axes)} axes")
    return np.array(np.transpose(array, axes) if axes else array, np.float32, order="C")


def _queues(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    queues: dict[str, Any] = {name: _ours(state[name], name, (1, 0)) for name in _QUEUES}
    pointer = state[_POINTER]
    if pointer.size != 1:
        raise CheckpointError(f"{_POINTER}: shape {pointer.shape}; it should hold one number")
    return queues | {_POINTER: int(pointer.item())}


def _check_tied(state: Mapping[str, np.ndarray]) -> None:
    pairs = [*_TIED.items(), *((_twin(a), _twin(b)) for a, b in _TIED.items())]
    for second, first in pairs:
        if second in state and not np.array_equal(state[second], state[first]):
            raise CheckpointError(f"{second} differs from {first}, to which this model ties it")


def _flat(tree: Mapping[str, Any], rows: Iterable[Row]) -> dict[str, np.ndarray]:
    leaves = dict(_leaves(tree))
    paths = {row.path for row in rows}
    if paths != leaves.keys():
        wrong = sorted("/".join(path) for path in paths ^ leaves.keys())
        raise CheckpointError(f"the tree lacks, or has no published name for: {', '.join(wrong)}")
    first_fused = leaves["text_encoder", "layers", "norm", "scale"].shape[0]
    flat = {}
    for row in rows:
        array = np.asarray(leaves[row.path])
        start = first_fused if row.path[0] == FUSED else 0
        for layer, part in enumerate(array, start) if "{}" in row.name else [(0, array)]:
            back = np.transpose(part, np.argsort(row.axes)) if row.axes else part
            flat[row.name.format(layer)] = np.array(back, order="C")
    return flat


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from _leaves(child, (*path, key))
    else:
        yield path, tree
