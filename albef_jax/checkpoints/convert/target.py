"""Writes a checkpoint in the form that its name implies, under a temporary name until complete."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.checkpoints.convert.source import Source, configuration, public
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.checkpoints.official import state_dict, weights_file
from albef_jax.checkpoints.official.inventory import Inventory
from albef_jax.checkpoints.official.weights_file import OfficialFile
from albef_jax.checkpoints.paths import check_writable_name
from albef_jax.errors import CheckpointError, SaveError

FILES = (".pth", ".safetensors")
_IMAGE_IDS = np.iinfo(np.int32)


def write_checkpoint(
    path: Path, source: Source, found: Inventory, *, overwrite: bool = False
) -> None:
    """Write `source` to `path`: a file by its suffix, otherwise an Orbax directory.

    For an Orbax directory `source.state` is emptied meanwhile, to save memory. Names that the model
    lacks are left out.

    Raises:
        CheckpointError: `path` exists, and may not be replaced.
    """
    config = configuration(source, found)
    for name in found.unexpected:
        source.state.pop(name, None)
    with replacing(path, overwrite) as part:
        if path.suffix in FILES:
            file = OfficialFile(source.state, public(config), source.step)
            weights_file.write_weights(part, file, path.suffix)
        else:
            _write_orbax(part, source, found)
            config["converted_from"] = source.origin.name
            text = json.dumps(config, indent=2) + "\n"
            (part / "config.json").write_text(text, encoding="utf-8")


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a path that must not be written to.

    Raises:
        CheckpointError: it exists; or it is a directory that holds other files, too, or one in
            which Orbax could not find what it wrote.
    """
    if path.suffix in (".pt", ".bin", ".ckpt"):
        raise CheckpointError(f"{path}: name it .pth, .safetensors, or a directory without ending")
    if path.suffix not in FILES:
        check_writable_name(path, str(path))
    if path.is_dir():
        children = {child.name for child in path.iterdir()}
        if path.suffix in FILES or not children <= {"checkpoints", "config.json"}:
            raise CheckpointError(
                f"{path}: a directory with more in it than a converted checkpoint; choose another "
                "name, or remove it"
            )
        if not children:
            return
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; choose another name, or pass --overwrite")


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block succeeds."""
    check_target(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def _write_orbax(directory: Path, source: Source, found: Inventory) -> None:
    trees = _trees(source, found)
    source.state.clear()
    train: dict[str, Any] = {"step": np.asarray(source.step or 0, np.int32)}
    if trees.queues:
        train["queue"] = trees.queues | {"pointer": np.asarray(trees.queues["pointer"], np.int32)}
    teacher = {"teacher": trees.teacher} if trees.teacher else {}
    try:
        with Checkpoints(directory / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(source.step or 0, {"params": trees.params, **teacher, "train": train})
    except SaveError as error:
        raise CheckpointError(str(error)) from error


def _trees(source: Source, found: Inventory) -> state_dict.Official:
    """Our trees, without the leaves that are missing, and without queues that lack one of them."""
    state = source.state
    ids = state.get("idx_queue", np.zeros((), np.int64))
    if ids.size and not _IMAGE_IDS.min <= ids.min() <= ids.max() <= _IMAGE_IDS.max:
        raise CheckpointError(f"{source.origin}: idx_queue has ids beyond 32 bits")
    gone = {(found.entries[name].part, found.entries[name].path) for name in found.missing}
    for name, entry in found.entries.items():
        if entry.stacked and (entry.part, entry.path) in gone and name in state:
            raise CheckpointError(
                f"{source.origin}: {'/'.join(entry.path)} is a stack of layers of which some are "
                "missing; it cannot be kept in part"
            )
    # placeholders of missing leaves are removed
    blanks = {name: np.zeros(_blank_shape(found, name), np.float32) for name in found.missing}
    trees = state_dict.from_official({**state, **blanks}, task=source.task)
    for part, path in gone:
        tree = {"student": trees.params, "teacher": trees.teacher, "queues": trees.queues}[part]
        _remove(tree, path)
    kept = trees.queues if "queues" not in _broken(gone) else {}
    return replace(trees, queues=kept)


def _broken(gone: set) -> set[str]:
    """Whether the queues lack more than the ids of images."""
    return {part for part, path in gone if part == "queues" and path != ("image_id",)}


def _blank_shape(found: Inventory, name: str) -> tuple[int, ...]:
    return (1,) * len(found.entries[name].axes or ((0,) if name == "queue_ptr" else ()))


def _remove(tree: Any, path: tuple[str, ...]) -> None:
    """Remove a leaf, and branches that become empty."""
    if len(path) > 1:
        _remove(tree[path[0]], path[1:])
    if len(path) == 1 or not tree[path[0]]:
        del tree[path[0]]
