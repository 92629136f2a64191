"""Saves and restores named trees of arrays with Orbax, one directory for each step.

A restore uses the newest readable step. A damaged one is reported and moved aside, never deleted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationPolicy

from albef_jax.checkpoints.complete import lack
from albef_jax.checkpoints.integrity import damage, write_checksums
from albef_jax.checkpoints.paths import check_writable_name
from albef_jax.distributed.sync import broadcast_from_main, gather_from_all, is_main_process
from albef_jax.errors import CheckpointError, ConfigError, SaveError

Items = dict[str, Any]

_REASON = 300  # characters


class Checkpoints:
    """The `checkpoints/` directory of a workdir. Use as a context manager.

    Args:
        directory: made if missing.
        keep: how many of the newest steps to keep.
        keep_every: also those that are multiples of it; 0 for none.

    Attributes:
        pinned: a step that is kept, too, however old.

    Raises:
        CheckpointError: Orbax could not find what it writes there.
    """

    _remedy = "Make room or repair the disk"

    def __init__(self, directory: Path, keep: int, keep_every: int = 0):
        check_writable_name(directory, str(directory))
        self._directory = directory.resolve()
        self._name = str(self._directory)  # for messages
        self._keep, self._keep_every = keep, keep_every
        self.pinned: int | None = None
        self._manager = self._opened()

    def _opened(self, handlers: Any = None, **options: Any) -> ocp.CheckpointManager:
        """Orbax's manager of the directory."""
        return ocp.CheckpointManager(
            self._directory,
            item_handlers=handlers,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_Preserved(self),
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
                **options,
            ),
        )

    def beside(self, directory: Path) -> "Checkpoints":
        """For one step of this run in another directory."""
        return Checkpoints(directory, keep=1)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            self._manager.close()
        except Exception as error:
            if kind is None:  # otherwise the first error is the one to show
                raise self._save_error(error) from error

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, items: Items) -> None:
        """Write the trees in the background; a step that was saved before is skipped.

        Raises:
            SaveError: this save could not begin, or the one before it failed.
        """
        if step in self._manager.all_steps():
            return
        saved = {name: self._save_args(tree) for name, tree in items.items()}
        try:
            begun = self._manager.save(step, args=ocp.args.Composite(**saved))
        except Exception as error:
            raise self._save_error(error) from error
        if not begun:
            raise SaveError(f"{self._name}: step {step} is older than what is there")

    def wait(self) -> None:
        """Wait until all saves are finished.

        Raises:
            SaveError: a save failed.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._save_error(error) from error

    def restore(self, step: int, abstract: Items) -> Items:
        """Read the trees of `step` that `abstract` names, with its shardings.

        Args:
            abstract: trees of `jax.ShapeDtypeStruct` with a sharding.

        Raises:
            ValueError: the arrays on disk do not fit `abstract`.
        """
        wanted = {name: self._restore_args(tree) for name, tree in abstract.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
        return {name: restored[name] for name in abstract}

    def restore_newest(
        self, abstract: Items, *, move_aside: bool, first: int | None = None
    ) -> tuple[int, Items]:
        """The number and the trees of the newest readable step; reports the unreadable ones.

        If one process cannot read a step, all fall back.

        Args:
            abstract: as for `restore`.
            first: a step to try before the newest, if it is there.
            move_aside: rename unusable steps to `broken-STEP`, so that they can be saved again.
                Nothing is renamed if no step can be read.

        Raises:
            CheckpointError: there is no step, or none that can be read and fits `abstract`.
        """
        unusable: dict[int, str] = {}
        steps = sorted(self._all_steps(), key=lambda step: (step != first, -step))
        for step in broadcast_from_main(steps):
            reason = _of_any(self._damage(step))
            if reason is None:
                try:
                    found = self.restore(step, abstract)
                except Exception as error:  # Orbax documents no types of errors
                    reason = _reason(error)
                reason = _of_any(reason)
            if reason is None:
                self._tell(unusable, step, move_aside)
                return step, found
            unusable[step] = reason
        raise CheckpointError(
            "\n".join(
                [
                    f"{self._name}: no checkpoint can be used",
                    *(f"  step {step}: {reason}" for step, reason in unusable.items()),
                    "Nothing was changed. Repair them, or move this directory away to start over.",
                ]
            )
        )

    def _save_args(self, tree: Any) -> ocp.args.CheckpointArgs:
        return ocp.args.StandardSave(tree)

    def _restore_args(self, abstract: Any) -> ocp.args.CheckpointArgs:
        return ocp.args.StandardRestore(abstract)

    def _all_steps(self) -> list[int]:
        return list(self._manager.all_steps())

    def _damage(self, step: int) -> str | None:
        """Damage in this process's share of the files."""
        share = (jax.process_index(), jax.process_count())
        return damage(self._directory / str(step), share=share)

    def _tell(self, unusable: dict[int, str], used: int, move_aside: bool) -> None:
        for step, reason in unusable.items():
            if not is_main_process():
                continue
            kept = self._move_aside(step) if move_aside else None
            print(
                f"WARNING: the checkpoint of step {step} in {self._name} cannot be used: "
                f"{reason}. Falling back to step {used}."
                + (f" The damaged one is kept as {kept}." if kept else ""),
                file=sys.stderr,
                flush=True,
            )
        if unusable and move_aside:
            gather_from_all(None)  # all are moved
            self._manager.reload()

    def _move_aside(self, step: int) -> str:
        name, number = f"broken-{step}", 1
        while (self._directory / name).exists():
            number += 1
            name = f"broken-{step}.{number}"
        (self._directory / str(step)).rename(self._directory / name)
        return name

    def _seal(self) -> None:
        """Runs in the thread of a save, when everything is written under the temporary name."""
        if is_main_process():
            for written in self._directory.glob("*.orbax-checkpoint-tmp"):
                if (reason := lack(written)) is not None:
                    raise SaveError(f"{written.name} is not whole: {reason}")
                write_checksums(written)
                self._written(int(written.name.partition(".")[0]), written)

    def _written(self, step: int, written: Path) -> None:
        """A step is whole and sealed, and about to get its name."""

    def preserves(self, steps: Sequence[int]) -> list[bool]:
        """Which of the steps stay when another has been saved, oldest first."""
        newest = len(steps) - self._keep
        return [
            place >= newest
            or step == self.pinned
            or bool(self._keep_every and step % self._keep_every == 0)
            for place, step in enumerate(steps)
        ]

    def _save_error(self, error: Exception) -> SaveError:
        self._manager.reload()  # Orbax lists a step as soon as its save has begun
        steps = sorted(self._all_steps())
        intact = f"steps {', '.join(map(str, steps))} are intact" if steps else "there is none yet"
        return SaveError(
            f"{self._name}: a checkpoint could not be written: {_reason(error)}. Of those before "
            f"it, {intact}. {self._remedy}; the same command continues."
        )


class _Preserved(PreservationPolicy):
    """As `Checkpoints.preserves` says."""

    def __init__(self, checkpoints: Checkpoints):
        self._checkpoints = checkpoints

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """For each of the steps, oldest first."""
        return self._checkpoints.preserves([one.step for one in checkpoints])


def _of_any(reason: str | None) -> str | None:
    """The reason of any process, with its number; all must call it."""
    found = {
        number: text for number, text in enumerate(gather_from_all(reason)) if text is not None
    }
    if not found:
        return None
    number, text = next(iter(found.items()))
    return text if jax.process_count() == 1 else f"{text} (process {number})"


def _reason(error: Exception) -> str:
    """The message; of an error that is not ours shortened in the middle, its end matters most."""
    if isinstance(error, ConfigError | SaveError):
        return str(error)
    text = " ".join(str(error).split()).partition(" [tensorstore_spec")[0] or repr(error)
    return (
        text if len(text) <= _REASON else f"{text[: _REASON // 3]} ... {text[-_REASON // 3 * 2 :]}"
    )
