"""Starts one task's model from a checkpoint of another, as the official code does.

Modules that both models have are loaded. The answer decoder starts as a copy of the fusion encoder,
with embeddings and vocabulary head from pre-training; a pair of fusion layers as two copies of one.
Modules that the task adds stay fresh. Any other missing module is an error, and a table lists the
outcome for every module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from albef_jax.checkpoints.init_from.report import ModuleOrigin, Status
from albef_jax.checkpoints.init_from.report import format_table as format_table
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.errors import CheckpointError
from albef_jax.models.position_embedding import resize_position_embedding
from albef_jax.models.task_models import MODELS

Tree = Mapping[str, Any]
Arrays = dict[str, Any]  # of one module; an array on its own has the empty name
Modules = dict[str, Arrays]  # by path

# Origins of modules that the checkpoint lacks; the longest path first.
_ORIGINS = {
    "answer_decoder/embeddings": "text_encoder/embeddings",
    "answer_decoder/layers": "fusion_encoder/layers",
    "answer_decoder/head": "mlm_head",
    "pair_encoder/layers/first": "fusion_encoder/layers",
    "pair_encoder/layers/second": "fusion_encoder/layers",
    "pair_encoder/layers": "fusion_encoder/layers/cross_attention",
}
_POSITIONS = "image_encoder/pos_embed"


@dataclass(frozen=True)
class Start:
    """The trees that a run starts from, and the outcome for every module."""

    params: dict[str, Any]
    teacher: dict[str, Any]
    queues: dict[str, Any]
    rows: list[ModuleOrigin]


@dataclass(frozen=True)
class _Rules:
    """Which modules stay fresh: those of the task, and those that the user allows."""

    what: str  # is loaded, for errors
    added: tuple[str, ...]
    allowed: tuple[str, ...]


def transfer(
    task: str,
    fresh: Tree,
    source_task: str,
    source: Tree,
    fresh_teacher: Tree | None = None,
    source_teacher: Tree | None = None,
    fresh_queues: Tree | None = None,
    source_queues: Tree | None = None,
    *,
    teacher: Literal["official", "student"] = "official",
    allow_missing: tuple[str, ...] = (),
) -> Start:
    """The start of `task` from a checkpoint of `source_task`.

    For one and the same task, that is everything in the checkpoint. The result may share arrays
    with `fresh` and `source`, but no array occurs twice.

    Args:
        fresh: a fresh model of the task; `fresh_teacher` and `fresh_queues` are empty where the
            task has none. Queues are named as in `losses.queue.Queue`.
        source: the checkpoint's student; `source_teacher` and `source_queues` may be empty.
        teacher: `student` copies the loaded student. `official` takes the checkpoint's teacher, or
            copies the student if there is none; but NLVR2's stays fresh, since the official one
            is made before the checkpoint is read (LEDGER, NLVR).
        allow_missing: modules such as `fusion_encoder/layers/norm`, or whole parts such as
            `itm_head`, that stay fresh if the checkpoint lacks them or has another shape.

    Raises:
        CheckpointError: the checkpoint lacks something, or is of another size.
    """
    _check_allowed(allow_missing, _modules(fresh))
    same = MODELS[task] == MODELS[source_task]
    added = MODELS[task].starts_fresh
    fresh_parts = (added,) if added and not same else ()
    rules = _Rules(f"the start of {task} from {source_task}", fresh_parts, allow_missing)
    params, rows = _load("student", _modules(fresh), _modules(source), rules)

    momentum, theirs = _modules(fresh_teacher or {}), _modules(source_teacher or {})
    if teacher == "official" and task == "nlvr" and not same:
        teacher_rows = _all(
            "teacher", momentum, "new", "as in the official code: made before the loading"
        )
        teacher_rows += _all("teacher", theirs, "unused", "all of it")
    elif teacher == "official" and theirs:
        momentum, teacher_rows = _load("teacher", momentum, theirs, rules)
    else:
        momentum = {path: _copy(params[path]) for path in momentum}
        teacher_rows = _all("teacher", momentum, "loaded", "a copy of the student")
        teacher_rows += _all("teacher", theirs, "unused", "all of it")

    queues, queue_rows = _queues(fresh_queues or {}, source_queues or {}, task == source_task)
    return Start(_tree(params), _tree(momentum), queues, rows + teacher_rows + queue_rows)


def _check_allowed(allowed: tuple[str, ...], modules: Modules) -> None:
    for prefix in allowed:
        if not any(_is_in(path, (prefix,)) for path in modules):
            raise CheckpointError(f"allow_missing: the model has no module {prefix!r}")


def _load(
    part: str, fresh: Modules, source: Modules, rules: _Rules
) -> tuple[Modules, list[ModuleOrigin]]:
    loaded, rows, used = {}, [], set()
    missing, misfits = [], []
    for path, arrays in fresh.items():
        origin = _origin(path, source)
        found = source.get(origin)
        status, loaded[path], note = _fate(path, arrays, found, rules)
        if status == "missing":
            missing.append(path)
        elif status == "misfit":
            misfits.append(f"{path} is {note}")
        else:
            if status != "new":
                used.add(origin)
            if origin != path and status == "loaded":
                note, loaded[path] = f"from {origin.partition('/')[0]}", _copy(loaded[path])
            rows.append(ModuleOrigin.of(part, path, status, arrays, note))
    if missing:
        raise CheckpointError(_missing_message(f"{rules.what}: {part}", missing, fresh))
    if misfits:
        raise CheckpointError(_misfit_message(f"{rules.what}: {part}", misfits, source, fresh))
    left = {path: arrays for path, arrays in source.items() if path not in used}
    return loaded, rows + _all(part, left, "unused")


def _fate(
    path: str, arrays: Arrays, found: Arrays | None, rules: _Rules
) -> tuple[Status | Literal["missing", "misfit"], Arrays, str]:
    """The outcome for a module whose counterpart in the checkpoint is `found`."""
    if _is_in(path, rules.added):
        return "new", arrays, "the task's own"
    if found is None:
        allowed = _is_in(path, rules.allowed)
        return "new" if allowed else "missing", arrays, "not in the checkpoint"
    there, here = _shapes(found), _shapes(arrays)
    if there == here:
        return "loaded", found, ""
    if path == _POSITIONS and there[""][::2] == here[""][::2]:
        old, new = there[""][1] - 1, here[""][1] - 1
        resized = np.asarray(resize_position_embedding(found[""], new))
        return "resized", {"": resized}, f"from {old} to {new} patches"
    wrong = [name for name in here if there.get(name) != here[name]]
    note = ", ".join(f"{there.get(name)} there and {here[name]} here" for name in wrong)
    return "new" if _is_in(path, rules.allowed) else "misfit", arrays, note


def _origin(path: str, source: Modules) -> str:
    """The origin of `path`: its namesake, if the checkpoint has that part of the model."""
    part = path.partition("/")[0]
    if not any(_is_in(other, (part,)) for other in source):
        for ours, theirs in _ORIGINS.items():
            if _is_in(path, (ours,)):
                return theirs + path.removeprefix(ours)
    return path


def _missing_message(what: str, missing: list[str], fresh: Modules) -> str:
    """The message, with the largest parts that are missing as a whole."""
    names = []
    for path in missing:
        keys = path.split("/")
        parts = ["/".join(keys[:n]) for n in range(1, len(keys) + 1)]
        whole = next(p for p in parts if all(q in missing for q in fresh if _is_in(q, (p,))))
        names.append(f"{whole} (from {_ORIGINS[whole]})" if whole in _ORIGINS else whole)
    return (
        f"{what}: not in the checkpoint: {', '.join(dict.fromkeys(names))}; choose another "
        "checkpoint, or list modules that may start fresh in init.allow_missing"
    )


def _misfit_message(what: str, misfits: list[str], source: Modules, fresh: Modules) -> str:
    """The message, with the sizes that differ, or else the modules."""
    there, here = sizes_of(_tree(source)), sizes_of(_tree(fresh))
    sizes = [
        f"model.{field} is {there[field]} there and {here[field]} here"
        for field in here
        if field != "image_size" and there.get(field, here[field]) != here[field]
    ]
    return (
        f"{what}: the checkpoint is of another size: {'; '.join(sizes or misfits)}; set the sizes "
        "as they are there, or list modules that may start fresh in init.allow_missing"
    )


def _queues(
    fresh: Tree, source: Tree, same_task: bool
) -> tuple[dict[str, Any], list[ModuleOrigin]]:
    """The checkpoint's features, if the queues fit; image ids only within one task."""
    queues, rows = dict(fresh), []
    here, there = (np.shape(queue.get("image", ())) for queue in (fresh, source))
    for name, array in fresh.items():
        status: Status = "new"
        if name not in source:
            note = "not in the checkpoint"
        elif there != here:
            note = f"features {there} there and {here} here"
        elif name == "image_id" and not same_task:
            note = "of other images there"
        else:
            status, note, queues[name] = "loaded", "", source[name]
        rows.append(ModuleOrigin.of("queues", f"queue/{name}", status, {"": array}, note))
    used = {row.path for row in rows if row.status == "loaded"}
    left = {f"queue/{name}": {"": array} for name, array in source.items()}
    left = {path: arrays for path, arrays in left.items() if path not in used}
    return queues, rows + _all("queues", left, "unused")


def _all(part: str, modules: Modules, status: Status, note: str = "") -> list[ModuleOrigin]:
    return [ModuleOrigin.of(part, path, status, arrays, note) for path, arrays in modules.items()]


def _is_in(path: str, parts: tuple[str, ...]) -> bool:
    return any(path == part or path.startswith(f"{part}/") for part in parts)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _copy(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def _modules(tree: Tree) -> Modules:
    return dict(_walk(tree, ()))


def _walk(tree: Tree, path: tuple[str, ...]) -> Iterator[tuple[str, Arrays]]:
    arrays = {name: node for name, node in tree.items() if not isinstance(node, Mapping)}
    if arrays and len(arrays) == len(tree) and path:
        yield "/".join(path), arrays
        return
    for name, node in tree.items():
        if name in arrays:
            yield "/".join((*path, name)), {"": node}
        else:
            yield from _walk(node, (*path, name))


def _tree(modules: Modules) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, arrays in modules.items():
        for name, array in arrays.items():
            *parents, last = [*path.split("/"), *filter(None, [name])]
            node = tree
            for key in parents:
                node = node.setdefault(key, {})
            node[last] = array
    return tree
