"""Checkpoints of processes that share no directory: the first writes all, each reads its own copy.

For runs in a bucket, and for what they keep beside their steps.
"""

import copy
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from albef_jax.checkpoints.bucket_steps import BucketSteps
from albef_jax.checkpoints.integrity import damage
from albef_jax.checkpoints.manager import Checkpoints, Items
from albef_jax.distributed.sync import is_main_process
from albef_jax.errors import SaveError
from albef_jax.storage.retries import StorageError, reason

ITEMS = ("params", "teacher", "train")  # of `TrainState.items`


class FromOneProcess(Checkpoints):
    """As `Checkpoints`, in a directory of this process alone.

    Arrays that no process holds as a whole are gathered before they are written.
    """

    def __init__(self, directory: Path, keep: int, keep_every: int = 0):
        self._saved: set[int] = set()  # on all processes alike
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, keep, keep_every)

    def _opened(self, handlers: Any = None, **options: Any) -> ocp.CheckpointManager:
        if _is_alone():
            return super()._opened(**options)
        number = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=number,
            active_processes={number},
            barrier_sync_key_prefix=f"{self._directory.name}{number}",
        )
        parts = {
            name: ocp.PyTreeCheckpointHandler(
                multiprocessing_options=alone,
                type_handler_registry=_first_replica_alone(),
                array_metadata_validator=_OfOneProcess(),
            )
            for name in ITEMS
        }
        return super()._opened(parts, multiprocessing_options=alone, create=False, **options)

    def _save_args(self, tree: Any) -> ocp.args.CheckpointArgs:
        return super()._save_args(tree) if _is_alone() else ocp.args.PyTreeSave(tree)

    def _restore_args(self, abstract: Any) -> ocp.args.CheckpointArgs:
        if _is_alone():
            return super()._restore_args(abstract)
        how = ocp.checkpoint_utils.construct_restore_args(abstract)
        return ocp.args.PyTreeRestore(abstract, restore_args=how)

    def beside(self, directory: Path) -> "FromOneProcess":
        """For one step of this run in another directory."""
        return FromOneProcess(directory, keep=1)

    def save(self, step: int, items: Items) -> None:
        """Write the trees in the background on the first process; all must call it.

        Raises:
            SaveError: this save could not begin, or the one before it failed.
        """
        if step in self._saved:
            return
        self._saved.add(step)
        if not _is_alone():
            items = jax.tree.map(_whole, items)
        if is_main_process():
            super().save(step, items)

    def _damage(self, step: int) -> str | None:
        return damage(self._directory / str(step))

    def _tell(self, unusable: dict[int, str], used: int, move_aside: bool) -> None:
        super()._tell(unusable, used, move_aside)
        if move_aside:
            self._saved.difference_update(unusable)


class BucketCheckpoints(FromOneProcess):
    """Checkpoints of a run in a bucket; the directory has copies of those that were needed.

    Args:
        directory: of this process, local.
        steps: in the bucket.
    """

    _remedy = "See that the bucket can be written"

    def __init__(self, directory: Path, keep: int, keep_every: int, steps: BucketSteps):
        self._steps = steps
        super().__init__(directory, keep, keep_every)
        self._name = steps.address
        self._saved.update(steps.sealed())

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self._steps.sealed(), default=None)

    def _all_steps(self) -> list[int]:
        return self._steps.sealed()

    def _save_error(self, error: Exception) -> SaveError:
        try:
            return super()._save_error(error)
        except StorageError:  # the list of steps cannot be read, either
            return SaveError(
                f"{self._name}: a checkpoint could not be written: {reason(error)}. Those before "
                f"it are intact. {self._remedy}; the same command continues."
            )

    def _damage(self, step: int) -> str | None:
        if not (self._directory / str(step)).is_dir():
            self._steps.fetch(step, self._directory)
            self._manager.reload()
        return super()._damage(step)

    def _written(self, step: int, written: Path) -> None:
        self._steps.upload(step, written)
        sealed = self._steps.sealed()
        kept = self.preserves(sealed)
        self._steps.keep([step for step, stays in zip(sealed, kept, strict=True) if stays])

    def _move_aside(self, step: int) -> str:
        super()._move_aside(step)
        return self._steps.move_aside(step)


class _OfOneProcess:
    """In place of Orbax's check that every process has written: here it is one alone."""

    def validate_all_array_metadatas(self, array_metadatas: Any) -> None:
        """Accept what one process has written."""


def _first_replica_alone() -> Any:
    """Handlers that write whole replicated arrays, which Orbax shares out among their devices."""
    arrays = copy.copy(ocp.type_handlers.get_type_handler(jax.Array))
    # The constructor takes it, but not the store of metadata that random keys need. Where this name
    # changes, arrays are found incomplete before they are sealed.
    arrays._use_replica_parallel = False
    return ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays),
        (np.ndarray, ocp.type_handlers.NumpyHandler()),
        (int, ocp.type_handlers.ScalarHandler()),
    )


def _is_alone() -> bool:
    return jax.process_count() == 1


def _whole(array: Any) -> Any:
    """An array that the first process has all of: itself, or a copy in the memory of the host."""
    if not isinstance(array, jax.Array) or array.is_fully_replicated:
        return array
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
