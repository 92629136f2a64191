"""Saving and restoring named trees of arrays with Orbax, one directory a step."""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

Items = dict[str, Any]


class Checkpoints:
    """The `checkpoints/` directory of a workdir. Use as a context manager.

    Args:
        directory: made when missing.
        keep: how many of the newest to keep.
    """

    def __init__(self, directory: Path, keep: int):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, items: Items) -> None:
        """Write the trees in the background; a step already saved is left alone."""
        if step not in self._manager.all_steps():
            saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
            self._manager.save(step, args=ocp.args.Composite(**saved))

    def restore(self, step: int, abstract: Items) -> Items:
        """Read trees of `step`: those named in `abstract`, onto the shardings given there.

        Args:
            abstract: trees of `jax.ShapeDtypeStruct` with a sharding.

        Raises:
            ValueError: the arrays on disk do not fit `abstract`.
        """
        wanted = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
        return {name: restored[name] for name in abstract}
