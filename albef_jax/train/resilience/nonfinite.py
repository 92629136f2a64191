"""A step that is not finite changes nothing, and too many of them in a row end the run."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from albef_jax.models.albef import Params
from albef_jax.train.state import TrainState

SKIPPED = "skipped"
MODULE_NORM = "grad_norm/"


def skip_unless_finite(
    before: TrainState, after: TrainState, grads: Params, metrics: dict[str, jax.Array]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`after`; or `before` with the step counted, if the loss or a gradient is not finite.

    The test is on the norm of each module's gradients: where that overflows, so does Adam's second
    moment. Finite steps keep every bit.

    Returns:
        The state, and the metrics with `skipped` (0 or 1) and `grad_norm/MODULE` for each module.
    """
    norms = {f"{MODULE_NORM}{name}": optax.tree.norm(tree) for name, tree in grads.items()}
    finite = jnp.isfinite(jnp.stack([metrics["loss"], *norms.values()])).all()

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(finite, new, old)

    changing = ("params", "teacher", "opt_state", "queue")
    kept = {
        name: jax.tree.map(keep, getattr(after, name), getattr(before, name)) for name in changing
    }
    return after.replace(**kept), {**metrics, **norms, SKIPPED: 1 - finite.astype(jnp.int32)}


class TrainingDiverged(Exception):
    """More steps in a row were skipped than the run allows.

    Args:
        step: number of the last one.
        row: how many.
        metrics: of that step.

    Attributes:
        bundle: where the step is kept, once it is (`train.replay`).
    """

    def __init__(self, step: int, row: int, metrics: dict[str, float]):
        super().__init__(f"{row} steps in a row were not finite, the last is step {step}")
        self.step, self.metrics = step, metrics
        self.bundle: Path | None = None


class SkipCounter:
    """Counts skipped steps in a row.

    Args:
        most: how many end the run.
    """

    def __init__(self, most: int):
        self._most, self._row = most, 0

    @property
    def on_the_brink(self) -> bool:
        """Whether one more would end the run: then its metrics are needed before the next step."""
        return self._row + 1 >= self._most

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Take the metrics of the next step.

        Raises:
            NotFinite: this was one too many.
        """
        self._row = self._row + 1 if metrics.get(SKIPPED) else 0
        if self._row >= self._most:
            raise TrainingDiverged(step, self._row, metrics)


@dataclass(frozen=True)
class Guards:
    """When the loop gives up, or says that something is wrong.

    Attributes:
        max_skipped: steps in a row that are not finite, before the run stops.
        stall_seconds: without progress until the watchdog reports; 0 for never.
        stall_exit: end the process then.
    """

    max_skipped: int = 10
    stall_seconds: float = 600
    stall_exit: bool = False
