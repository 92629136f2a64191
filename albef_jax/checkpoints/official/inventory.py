"""Compares an official state dict with its task's model, name by name, without copying.

Tools that must account for every name start here: missing names, unexpected names, second names of
one array, and the shapes of our trees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.official.name_table import (
    QUEUE_NAMES,
    ParameterName,
    Table,
    table_of,
)
from albef_jax.checkpoints.official.state_dict import State

Part = Literal["student", "teacher", "queues"]


@dataclass(frozen=True)
class Entry:
    """One official name that a model has.

    Attributes:
        path: keys of the leaf in our trees; empty for position numbers, which have none.
        axes: our order of the official axes, or None if it is the same.
        stacked: whether it is one layer of a stack.
        tied_to: the first name of the same array, for a second name.
        wins: for a second name: it is used if the two differ.
    """

    part: Part
    path: tuple[str, ...]
    axes: tuple[int, ...] | None = None
    stacked: bool = False
    tied_to: str = ""
    wins: bool = False


@dataclass(frozen=True)
class Inventory:
    """The names of one state dict, compared with those of its task.

    Attributes:
        entries: every name of the parts that the state dict has, present or not.
        missing: names without a substitute, unlike tied weights and position numbers.
        unexpected: names that the model lacks.
    """

    task: str
    entries: dict[str, Entry]
    missing: list[str]
    unexpected: list[str]

    def has(self, part: Part) -> bool:
        """Whether the state dict has student, teacher or queues."""
        return any(entry.part == part for entry in self.entries.values())

    def leaves(self, state: State, part: Part) -> Iterator[tuple[str, Entry, np.ndarray]]:
        """Each array once, under its first name; if two copies differ, the one that is used."""
        seconds = {entry.tied_to: (name, entry.wins) for name, entry in self.entries.items()}
        for name, entry in self.entries.items():
            if entry.part == part and entry.path and not entry.tied_to:
                second, wins = seconds.get(name, ("", False))
                if second in state and (wins or name not in state):
                    yield name, entry, state[second]
                elif name in state:
                    yield name, entry, state[name]


def take(state: State, task: str) -> Inventory:
    """Compare the names of `state` with those of a task's model.

    Raises:
        CheckpointError: no layer has cross-attention, so that it is no official model.
    """
    fusion_layer = state_dict.fusion_layer_of(state)
    table = table_of(task, state_dict.stem_of(state))
    student = _student(table, state, fusion_layer)
    with_teacher = {row.path for row in table.teacher((*table.rows, *table.tied))}
    teacher = {}
    for name, entry in student.items():
        if table.has_teacher and (not entry.path or entry.path in with_teacher):
            tied_to = state_dict.twin(entry.tied_to) if entry.tied_to else ""
            teacher[state_dict.twin(name)] = Entry(
                "teacher", entry.path, entry.axes, entry.stacked, tied_to, entry.wins
            )
    queues: dict[str, Entry] = {}
    for name in table.queues:
        features = name in ("image_queue", "text_queue")
        queues[name] = Entry("queues", (QUEUE_NAMES[name],), (1, 0) if features else None)
    entries = dict(student)
    for optional in (teacher, queues):
        if any(name in state for name in optional):
            entries |= optional
    seconds = {entry.tied_to: name for name, entry in entries.items() if entry.tied_to}
    missing = [
        name
        for name, entry in entries.items()
        if entry.path and not entry.tied_to and not {name, seconds.get(name)} & state.keys()
    ]
    return Inventory(task, entries, missing, [name for name in state if name not in entries])


def _student(table: Table, state: State, fusion_layer: int) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    first: dict[tuple[str, ...], list[str]] = {}
    for row in (*table.rows, *table.tied):
        official = state_dict.layer_names(row, state, fusion_layer)
        origins = first.setdefault(row.path, official)
        for name, origin in zip(official, origins, strict=True):
            found[name] = _entry(row, origin if origin != name else "")
    return found | {name: Entry("student", ()) for name in state_dict.positions(table)}


def _entry(row: ParameterName, tied_to: str) -> Entry:
    return Entry("student", row.path, row.axes, row.layers is not None, tied_to, row.wins)


def shapes(inventory: Inventory, state: State, part: Part = "student") -> dict[str, Any]:
    """Our tree of a part, with shapes for arrays, without missing ones."""
    depth: dict[tuple[str, ...], int] = {}
    shape: dict[tuple[str, ...], tuple[int, ...]] = {}
    for _, entry, array in inventory.leaves(state, part):
        depth[entry.path] = depth.get(entry.path, 0) + 1
        ours = array.shape
        if entry.axes and len(entry.axes) == array.ndim:
            ours = tuple(array.shape[axis] for axis in entry.axes)
        shape[entry.path] = (depth[entry.path], *ours) if entry.stacked else ours
    tree: dict[str, Any] = {}
    for path, size in shape.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jax.ShapeDtypeStruct(size, np.float32)
    return tree


def counts(tree: Mapping[str, Any]) -> dict[str, int]:
    """Numbers in each top-level module of a tree of arrays or shapes."""
    return {
        name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(module))
        for name, module in tree.items()
    }
