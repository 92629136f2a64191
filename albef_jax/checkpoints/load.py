"""Reads a checkpoint of any form: a run, Orbax, a release, `.pth` or `.safetensors`."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from albef_jax.checkpoints.fetched import local_checkpoint
from albef_jax.checkpoints.integrity import NAME, damage
from albef_jax.checkpoints.official import state_dict, weights_file
from albef_jax.checkpoints.official.name_table import TABLES
from albef_jax.checkpoints.paths import check_readable_name
from albef_jax.config.parts import frozen_parts
from albef_jax.config.renamed import modernise
from albef_jax.errors import CheckpointError
from albef_jax.models.frozen import Frozen
from albef_jax.models.task_models import model_of
from albef_jax.pretrained.folders import NAMES, locate
from albef_jax.workdir.trajectory import best_step

Tree = dict[str, Any]

# The optimizer's state is in the last one, but is not read.
_READ = ("params/", "teacher/", "train/")


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint, on the host.

    Attributes:
        task: as in `--task`; `retrieval` also for an official grounding model, unless a
            configuration distinguishes them.
        params: the student's tree.
        teacher: whole, with what a run has frozen; may be empty.
        queues: named as in `losses.queue.Queue`; may be empty.
        step: updates so far, or None if unknown.
        config: the run's `config.json`, or None. Files written by `weights_file` hold it.
        origin: the file, the folder of the release or the directory of the step.
        unused: names in an official file that the model lacks.
        notes: remarks on an official file for the user, a line each.
    """

    task: str
    params: Tree
    teacher: Tree
    queues: Tree
    step: int | None
    config: dict[str, Any] | None
    origin: Path
    unused: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint at `path`.

    Args:
        path: a run's directory, where the step that evaluation while training has chosen is read,
            or else the newest; its `checkpoints` directory, or one step in it; a release, which is
            a folder with `model.safetensors` and `config.json`; the name of one that comes with the
            package (`pretrained.NAMES`); or a file with the official names: `.safetensors`, or a
            `.pth` under any other name. Any of them may be an address in a bucket.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = locate(local_checkpoint(path))
    if path.is_dir() and not is_release(path):
        check_readable_name(path)
        return _read_step(find_step(path.resolve()))
    file = read_official(path)
    try:
        task = official_task(file)
        found = state_dict.from_official(file.state, task=task)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    trees = found.params, found.teacher, found.queues
    return Checkpoint(task, *trees, file.step, file.config, path, found.unused, file.notes)


def is_release(path: Path) -> bool:
    """Whether `path` is a folder in release form."""
    return (path / weights_file.WEIGHTS).is_file()


def read_official(path: Path) -> weights_file.OfficialFile:
    """An official file, or the one in a release with the configuration beside it.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if is_release(path):
        file = weights_file.read_weights(path / weights_file.WEIGHTS)
        return replace(file, config=_read_config(path / "config.json") or file.config)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file or directory; a checkpoint is a .pth or .safetensors file, a "
            f"directory of a run, or a model of the package ({', '.join(NAMES)})"
        )
    return weights_file.read_weights(path)


def official_task(file: weights_file.OfficialFile) -> str:
    """The task by the names; the configuration distinguishes retrieval and grounding.

    Raises:
        CheckpointError: the names are those of no task.
    """
    found = state_dict.find_task(file.state)
    said = (file.config or {}).get("task", found)
    return said if TABLES.get(said) is TABLES[found] else found


def find_step(path: Path) -> Path:
    """The directory of the newest step at or below `path`; of a run, the one it has chosen.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if _is_step(path):
        return _first_whole([path])
    for directory in (path / "checkpoints", path):
        # a step that is being written has another name
        steps = [child for child in directory.glob("*") if child.name.isdigit()]
        steps = [child for child in steps if _is_step(child)]
        if steps:
            chosen = best_step(path)
            return _first_whole(sorted(steps, key=lambda step: _order(step, chosen)))
    raise CheckpointError(
        f"{path}: no checkpoint in this directory; looked for params (a saved step), for "
        "STEP/params and for checkpoints/STEP/params with a number for STEP. A run saves its first "
        "after checkpoint.every_steps"
    )


def _order(step: Path, chosen: int | None) -> tuple[bool, int]:
    """The chosen step comes first, then the newest."""
    return int(step.name) != chosen, -int(step.name)


def _first_whole(steps: list[Path]) -> Path:
    """The first step with intact files; damaged ones are reported."""
    first, *others = steps
    reason = damage(first, _READ)
    if reason is None:
        return first
    if not others:
        raise CheckpointError(f"{first}: damaged: {reason}")
    warnings.warn(f"{first} is damaged: {reason}; step {others[0].name} is read", stacklevel=2)
    return _first_whole(others)


def _is_step(path: Path) -> bool:
    return any((path / name).is_file() for name in ("params/_METADATA", NAME))


def _read_step(step: Path) -> Checkpoint:
    params = _read_item(step / "params")
    teacher = _read_item(step / "teacher") if (step / "teacher").is_dir() else {}
    train = _read_item(step / "train", ("queue", "step")) if (step / "train").is_dir() else {}
    config = _read_config(step.parent.parent / "config.json")
    return Checkpoint(
        task=_task(step, params, config),
        params=params,
        teacher=_frozen(config).whole_teacher(teacher, params),
        queues=_queue(train.get("queue", {})),
        step=int(train["step"]) if "step" in train else None,
        config=config,
        origin=step,
    )


def _read_item(directory: Path, parts: tuple[str, ...] | None = None) -> Tree:
    """A saved tree, or the named parts at its root, as numpy arrays; nothing else is read."""
    handler = ocp.PyTreeCheckpointHandler()
    try:
        tree = handler.metadata(directory).tree
        wanted = {name: tree[name] for name in (tree if parts is None else parts) if name in tree}
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arguments = ocp.args.PyTreeRestore(wanted, restore_args=how, partial_restore=True)
        return handler.restore(directory, args=arguments)
    except (OSError, ValueError, KeyError) as error:
        # the rest of Orbax's message is a specification of the array
        reason = str(error)[:300]
        raise CheckpointError(f"{directory}: damaged, or no tree of arrays: {reason}") from error
    finally:
        handler.close()


def _read_config(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON ({error})") from error
    return modernise(config) if isinstance(config, dict) else None


def _frozen(config: Mapping[str, Any] | None) -> Frozen:
    """What a run has not trained, and so not kept a teacher of."""
    train = (config or {}).get("train", {})
    return Frozen.of(frozen_parts(train.get("frozen", "")))


def _task(step: Path, params: Mapping[str, Any], config: Mapping[str, Any] | None) -> str:
    """From the configuration; without one, by the parts of the model."""
    if config and config.get("task") in TABLES:
        return config["task"]
    if found := model_of(params):
        return found
    raise CheckpointError(f"{step}: no model of ours; its parts are {', '.join(params)}")


def _queue(queue: Mapping[str, Any]) -> Tree:
    return {**queue, "pointer": int(queue["pointer"])} if queue else {}
