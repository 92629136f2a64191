"""Saving and restoring whole training states with Orbax.

Three items a step, so that tools can read one alone: `params`, `teacher`, and `train` (optimizer,
queue, random key, step). Arrays come back onto whatever mesh the restoring run has.
"""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from albef_jax.train.state import TrainState


def _items(state: TrainState) -> dict:
    rest = {"opt_state": state.opt_state, "queue": state.queue, "key": state.key}
    return {"params": state.params, "teacher": state.teacher, "train": {**rest, "step": state.step}}


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

    def save(self, state: TrainState) -> None:
        """Write the state in the background; a step already saved is left alone."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = {name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, step: int, abstract_state: TrainState, shardings: TrainState) -> TrainState:
        """Read the state of `step` onto the given shardings.

        Raises:
            ValueError: the checkpoint's arrays do not fit `abstract_state`.
        """
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract_state,
            shardings,
        )
        items = {name: ocp.args.StandardRestore(tree) for name, tree in _items(target).items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        return TrainState(params=restored.params, teacher=restored.teacher, **restored.train)
