"""Converts official PyTorch state dicts to our parameter trees and back, by `name_table`.

The official momentum copies, whose first part ends in `_m`, form the teacher. Arrays with two
official names (LEDGER, checkpoint names) are kept once. Teacher and queues are optional: a file has
all of their names or none.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from albef_jax.checkpoints.official.name_table import (
    QUEUE_NAMES,
    STEM,
    TABLES,
    ParameterName,
    Table,
    layer_numbers,
    stack_depth,
    table_of,
)
from albef_jax.errors import CheckpointError
from albef_jax.models.task_models import MODELS, model_of

State = Mapping[str, np.ndarray]

_WRAPPERS = ("module.", "model.")
_COMPILED = re.compile(r"(?<![^.])_orig_mod\.")  # as a whole part of the name, anywhere
_INNER_BERT = re.compile(r"^(text_encoder(?:_m)?)\.bert\.")
_FUSED = re.compile(r"text_encoder\.(?:bert\.)?encoder\.layer\.(\d+)\.crossattention\.")
_LISTED = 40  # names in an error message


@dataclass(frozen=True)
class Official:
    """An official checkpoint in our form.

    Attributes:
        params: the student's nested dictionary, float32.
        teacher: the momentum twins, the same without `itm_head` and `temperature`; may be empty.
        queues: as in `losses.queue.Queue`: `image` and `text` `[Q, E]` float32, `pointer`, an int,
            and for retrieval `image_id` `[Q]` int32; may be empty.
        unused: names that the model has no place for.
    """

    params: dict[str, Any]
    teacher: dict[str, Any]
    queues: dict[str, Any]
    unused: list[str]


def plain_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The official names of a state dict that other code saved, such as LAVIS or DataParallel.

    Removes a common prefix, the marks of `torch.compile`, and `bert.` in a text encoder without a
    vocabulary head, where official downstream models have none.

    Raises:
        CheckpointError: a name occurs twice, with such a mark and without.
    """
    plain: dict[str, np.ndarray] = {}
    for name, array in state.items():
        if plain.setdefault(_COMPILED.sub("", name), array) is not array:
            raise CheckpointError(f"{name} occurs twice, with _orig_mod and without")
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in plain):
            plain = {name.removeprefix(wrapper): array for name, array in plain.items()}
    if "text_encoder.cls.predictions.bias" in plain:
        return plain
    return {_INNER_BERT.sub(r"\1.", name): array for name, array in plain.items()}


def find_task(state: State) -> str:
    """The task whose model a state dict holds; `retrieval` for grounding too.

    Raises:
        CheckpointError: the names are those of no task.
    """
    marks = {model.mark for model in MODELS.values()}
    rows = (row for table in TABLES.values() for row in table.rows if row.path[0] in marks)
    parts = {row.path[0] for row in rows if row.name in state}
    if "cls_head.2.bias" in state:  # layers in pairs have the names of single ones
        classes = state["cls_head.2.bias"].size
        known = {name: model.classes for name, model in MODELS.items() if model.classes}
        if classes not in known.values():
            raise CheckpointError(
                f"cls_head has {classes} classes; the tasks with one have {known}"
            )
        parts |= {model.mark for model in MODELS.values() if model.classes == classes}
    if found := model_of(parts):
        return found
    raise CheckpointError(f"no state dict of an official model: its names are {_some([*state])}")


def fusion_layer_of(state: Iterable[str]) -> int:
    """How many BERT layers come before fusion, by the official names.

    Raises:
        CheckpointError: no layer has cross-attention.
    """
    found = [int(match[1]) for match in map(_FUSED.match, state) if match]
    if not found:
        raise CheckpointError("not an official model: no layer of text_encoder has crossattention")
    return min(found)


def from_official(
    state: State, *, fusion_layer: int | None = None, task: str = "pretrain"
) -> Official:
    """The official checkpoint `state` of a task as our trees.

    Args:
        state: official names to arrays, as `reader.read_state_dict` returns them.
        fusion_layer: how many BERT layers come before fusion (6 in the official model); by
            default as the names say.

    Raises:
        CheckpointError: names missing, tied weights that differ, or arrays whose axes are not what
            the table says.
    """
    if fusion_layer is None:
        fusion_layer = fusion_layer_of(state)
    if fusion_layer < 1:
        raise ValueError(f"fusion_layer must be at least 1, not {fusion_layer}")
    table = table_of(task, stem_of(state))
    names = {row: layer_names(row, state, fusion_layer) for row in (*table.rows, *table.tied)}
    twins = {row: [twin(name) for name in names[row]] for row in table.teacher(names)}
    optional = {*chain(*twins.values(), map(twin, positions(table)))}
    known = {*chain(*names.values()), *positions(table), *optional, *table.queues}
    student = _choose(table, names, state)
    teacher = _choose(table, twins, state) if any(name in state for name in optional) else {}
    queues = table.queues if any(name in state for name in table.queues) else ()
    needed = [*chain(*student.values(), *teacher.values()), *queues]
    missing = [name for name in needed if name not in state]
    if missing:
        raise CheckpointError(
            f"not a {task} checkpoint with fusion_layer {fusion_layer}: {len(missing)} names are "
            f"missing: {_some(missing)}"
        )
    return Official(
        params=_tree(student, state),
        teacher=_tree(teacher, state),
        queues=_queues(state, queues),
        unused=[name for name in state if name not in known],
    )


def to_official(
    params: Mapping[str, Any],
    teacher: Mapping[str, Any],
    queues: Mapping[str, Any],
    task: str = "pretrain",
) -> dict[str, np.ndarray]:
    """The state dict that the official code would save: the inverse of `from_official`.

    Tied weights appear under both names; position numbers (`[1, P]`), the queue pointer (`[1]`)
    and image ids (`[1, Q]`) are int64, as in the official code.

    Raises:
        CheckpointError: a tree that lacks a parameter, or has one that has no official name.
    """
    table = table_of(task, _stem(params))
    rows = (*table.rows, *table.tied)
    state = _flat(params, rows) | _position_numbers(table, params)
    if teacher:
        positions = _position_numbers(table, params)
        twins = _flat(teacher, table.teacher(rows)) | positions
        state |= {twin(name): array for name, array in twins.items()}
    if queues:
        state |= {name: _official_queue(name, queues) for name in table.queues}
    return state


def to_official_params(params: Mapping[str, Any], task: str = "pretrain") -> dict[str, np.ndarray]:
    """The student's parameters, or a tree like them such as gradients, by official name.

    Axes are in PyTorch's order and stacks are taken apart; a tied weight appears once, under its
    first name. Arrays may be numpy or jax.

    Raises:
        CheckpointError: as `to_official`.
    """
    return _flat(params, table_of(task, _stem(params)).rows)


def stem_of(state: Iterable[str]) -> int:
    """How many convolutions come before the patch embedding; none in an official model."""
    return sum(name.startswith(STEM) and name.endswith(".weight") for name in state)


def _stem(params: Mapping[str, Any]) -> int:
    return len(params.get("image_encoder", {}).get("stem", ()))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def twin(name: str) -> str:
    """The momentum copy's name: `text_proj.bias` -> `text_proj_m.bias`."""
    module, _, rest = name.partition(".")
    return f"{module}_m.{rest}"


def layer_names(row: ParameterName, state: Iterable[str], fusion_layer: int) -> list[str]:
    """The official names of one row: one, or one for each layer of its stack."""
    if row.layers is None:
        return [row.name]
    prefix = row.name.partition("{}")[0]
    numbers = {n.removeprefix(prefix).partition(".")[0] for n in state if n.startswith(prefix)}
    # a count, so that a gap in the numbers appears as missing names
    depth = stack_depth(row.layers, len(numbers), fusion_layer)
    return [row.name.format(n) for n in layer_numbers(row.layers, depth, fusion_layer)]


def _choose(
    table: Table, names: Mapping[ParameterName, list[str]], state: State
) -> dict[ParameterName, list[str]]:
    """For each leaf the names to read: of two names, the one that exists or is used."""
    chosen = {row: found for row, found in names.items() if row not in table.tied}
    first = {row.path: row for row in chosen}
    for tied in table.tied:
        if tied in names:
            pairs = zip(chosen[first[tied.path]], names[tied], strict=True)
            chosen[first[tied.path]] = [_one_of(a, b, tied.wins, state) for a, b in pairs]
    return chosen


def _one_of(first: str, second: str, second_wins: bool, state: State) -> str:
    if first not in state or second not in state:
        return second if second in state else first
    if not second_wins and not np.array_equal(state[first], state[second]):
        raise CheckpointError(f"{second} differs from {first}, to which this model ties it")
    return second if second_wins else first


def _tree(names: Mapping[ParameterName, list[str]], state: State) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for row, official in names.items():
        layers = [_ours(state[name], name, row.axes) for name in official]
        if len({layer.shape for layer in layers}) > 1:
            raise CheckpointError(f"{row.name}: the layers of the stack differ in shape")
        node = tree
        for key in row.path[:-1]:
            node = node.setdefault(key, {})
        node[row.path[-1]] = np.stack(layers) if row.layers else layers[0]
    return tree


def _ours(array: np.ndarray, name: str, axes: tuple[int, ...] | None) -> np.ndarray:
    if axes and array.ndim != len(axes):
        raise CheckpointError(f"{name}: shape {array.shape}; it should have {len(axes)} axes")
    return np.array(np.transpose(array, axes) if axes else array, np.float32, order="C")


def _queues(state: State, names: Iterable[str]) -> dict[str, Any]:
    queues: dict[str, Any] = {}
    for name in names:
        if name == "queue_ptr":
            pointer = state[name]
            if pointer.size != 1:
                raise CheckpointError(f"{name}: shape {pointer.shape}; it should hold one number")
            queues["pointer"] = int(pointer.item())
        elif name == "idx_queue":
            queues["image_id"] = np.array(state[name].reshape(-1), np.int32)
        else:
            queues[QUEUE_NAMES[name]] = _ours(state[name], name, (1, 0))
    return queues


def _official_queue(name: str, queues: Mapping[str, Any]) -> np.ndarray:
    array = queues[QUEUE_NAMES[name]]
    if name == "queue_ptr":
        return np.array([array], np.int64)
    if name == "idx_queue":
        return np.array(array, np.int64)[None]
    return np.array(np.transpose(array), order="C")


def positions(table: Table) -> dict[str, ParameterName]:
    """Names of the buffers with position numbers, and the embeddings beside them."""
    end = "position_embeddings.weight"
    rows = (row for row in table.rows if row.name.endswith(end))
    return {row.name.removesuffix(end) + "position_ids": row for row in rows}


def _position_numbers(table: Table, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    leaves = dict(_leaves(params))
    lengths = {name: len(leaves[row.path]) for name, row in positions(table).items()}
    return {name: np.arange(length, dtype=np.int64)[None] for name, length in lengths.items()}


def _flat(tree: Mapping[str, Any], rows: Iterable[ParameterName]) -> dict[str, np.ndarray]:
    leaves = dict(_leaves(tree))
    paths = {row.path for row in rows}
    if paths != leaves.keys():
        wrong = sorted("/".join(path) for path in paths ^ leaves.keys())
        raise CheckpointError(f"the tree lacks, or has no official name for: {', '.join(wrong)}")
    fusion_layer = leaves["text_encoder", "layers", "norm", "scale"].shape[0]
    flat = {}
    for row in rows:
        array = np.asarray(leaves[row.path])
        numbers = layer_numbers(row.layers, len(array), fusion_layer) if row.layers else (0,)
        for number, part in zip(numbers, array if row.layers else [array], strict=True):
            back = np.transpose(part, np.argsort(row.axes)) if row.axes else part
            flat[row.name.format(number)] = np.array(back, order="C")
    return flat


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from _leaves(child, (*path, key))
    else:
        yield path, tree
