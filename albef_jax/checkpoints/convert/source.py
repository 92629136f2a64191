"""Reads a checkpoint of any form as one state dict with the official names, for the tools."""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from albef_jax.checkpoints import load
from albef_jax.checkpoints.fetched import local_checkpoint
from albef_jax.checkpoints.official import inventory, state_dict
from albef_jax.checkpoints.official.inventory import Inventory
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.errors import CheckpointError
from albef_jax.pretrained.folders import locate

_HEAD_WIDTH = 64  # channels a head, in all official models


@dataclass(frozen=True)
class Source:
    """A checkpoint of any form in official names.

    Attributes:
        form: `orbax`, `release`, `pth` or `safetensors`.
        origin: the file, the folder of the release or the directory of the step.
        notes: remarks on the file for the user, a line each.
    """

    task: str
    state: dict[str, np.ndarray]
    config: dict[str, Any] | None
    step: int | None
    form: str
    origin: Path
    notes: tuple[str, ...] = ()

    def inventory(self) -> Inventory:
        """The names in `state`, compared with those of the task.

        Raises:
            CheckpointError: no official model.
        """
        try:
            return inventory.take(self.state, self.task)
        except CheckpointError as error:
            raise CheckpointError(f"{self.origin}: {error}") from error


def read_source(path: str | Path, task: str | None = None) -> Source:
    """The checkpoint at `path`; `task` chooses if the names fit two tasks.

    Raises:
        CheckpointError: there is none, it is damaged, or it is not of that task.
    """
    path = locate(local_checkpoint(path))
    if path.is_dir() and not load.is_release(path):
        found = load.read_checkpoint(path)
        task = task or found.task
        try:
            state = state_dict.to_official(found.params, found.teacher, found.queues, task)
        except (CheckpointError, KeyError) as error:
            raise CheckpointError(f"{found.origin}: no whole {task} model: {error}") from error
        return Source(task, state, found.config, found.step, "orbax", found.origin)
    file = load.read_official(path)
    form = "safetensors" if path.suffix == ".safetensors" else "pth"
    try:
        task = task or load.official_task(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    form = "release" if path.is_dir() else form
    return Source(task, dict(file.state), file.config, file.step, form, path, file.notes)


def complete(source: Source, found: Inventory) -> list[str]:
    """Add second names and position numbers that `source.state` lacks; names of what was added.

    Afterwards tied weights are one array under both names and take memory once.

    Raises:
        CheckpointError: tied weights that differ, or positions that are not numbered from 0.
    """
    state, added = source.state, []
    for name, entry in found.entries.items():
        first = entry.tied_to
        if first and first in state and name in state:
            if _same(state[first], state[name]):
                state[name] = state[first]
            elif not entry.wins:
                raise CheckpointError(
                    f"{source.origin}: {name} differs from {first}, to which this model ties it"
                )
        elif first and (first in state or name in state):
            there, lacking = (first, name) if first in state else (name, first)
            state[lacking] = state[there]
            added.append(lacking)
        elif not entry.path:
            positions = state.get(name.removesuffix("ids") + "embeddings.weight")
            if name not in state and positions is not None:
                state[name] = np.arange(len(positions), dtype=np.int64)[None]
                added.append(name)
            elif name in state and not _numbers_positions(state[name]):
                raise CheckpointError(f"{source.origin}: {name} does not count from 0")
    return added


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    # bytes, since NaN does not equal itself
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _numbers_positions(array: np.ndarray) -> bool:
    return array.size == array.shape[-1] and np.array_equal(array.ravel(), np.arange(array.size))


def configuration(source: Source, found: Inventory) -> dict[str, Any]:
    """The `config.json` to write: the run's own, or task and sizes from the shapes.

    Shapes do not show the numbers of heads: without a configuration they follow from 64 channels
    a head, and are absent if that does not divide.
    """
    config = dict(source.config or {})
    config["task"] = source.task
    if "model" not in config:
        sizes = sizes_of(inventory.shapes(found, source.state))
        for tower in ("image", "text"):
            if sizes.get(f"{tower}_width", 1) % _HEAD_WIDTH == 0:
                sizes[f"{tower}_heads"] = sizes[f"{tower}_width"] // _HEAD_WIDTH
        config["model"] = sizes
    return config


def public(value: Any) -> Any:
    """A configuration to publish: absolute paths are cut to their last part."""
    if isinstance(value, dict):
        return {name: public(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [public(inner) for inner in value]
    if not isinstance(value, str):
        return value
    # an option may list several files
    return ",".join(_last(part) for part in value.split(","))


def _last(path: str) -> str:
    is_absolute = PurePath(path.strip()).is_absolute() or path.strip().startswith("~")
    return PurePath(path.strip()).name if is_absolute else path
