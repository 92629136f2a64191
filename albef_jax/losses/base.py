"""What the train step and a task's loss exchange.

A loss is everything from a batch and two parameter trees to one number: it calls the models and
judges what they compute. The step around it (`train.step`) is the same for all tasks.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float

from albef_jax.losses.queue import Queue
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig

Batch = dict[str, Any]  # arrays; `image` may be ImageTokens
Metrics = dict[str, jax.Array]
Features = tuple[Float[Array, "B E"], Float[Array, "B E"]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Random:
    """A step's randomness by purpose.

    Attributes:
        decisions: what `Loss.decide` drew, or recorded decisions such as hard negatives. Leading
            axes are rows of the batch or contrast groups, so that a part of a batch has its own.
        student_dropout, teacher_dropout: keys; None switches dropout off.
    """

    decisions: Any = None
    student_dropout: jax.Array | None = None
    teacher_dropout: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossInputs:
    """What a loss is given besides the student's parameters.

    Attributes:
        batch: arrays by name; images are normalised. The whole batch, or a micro-batch.
        teacher: this step's teacher; empty without distillation.
        queue: features of earlier batches; None for a task without ITC.
        alpha: this step's distillation weight.
        totals: what `Loss.totals` counted over the whole batch, divided by the number of
            micro-batches: the mean over micro-batches is then the mean over the batch.
    """

    batch: Batch
    teacher: Params
    queue: Queue | None
    alpha: jax.Array
    random: Random
    totals: dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossOutput:
    """What a loss returns.

    Attributes:
        metrics: scalars, the one to minimise is `loss`.
        teacher_features: of images and texts, to enter the queue; None for a task without ITC.
        aux: intermediate values, for tests and debugging.
    """

    metrics: Metrics
    teacher_features: Features | None = None
    aux: Any = None


class Loss(ABC):
    """A task's loss.

    Attributes:
        model: sizes of the model that it calls.
        streams: names of the random keys of a step. Their order is part of a run's history: a key
            is the step's key with the position of its name folded in.
        temperature_range: if set, the student's temperature is clamped to it first.
        contrast_group: rows that depend on each other, or share what is computed; micro-batches are
            whole groups.
    """

    model: ModelConfig
    streams: ClassVar[tuple[str, ...]] = ("decisions", "student_dropout", "teacher_dropout")
    temperature_range: ClassVar[tuple[float, float] | None] = None
    contrast_group: int = 1

    def decide(self, keys: dict[str, jax.Array], batch: Batch) -> Any:
        """Draw the random decisions of a whole batch; none by default."""
        return None

    def totals(self, batch: Batch, decisions: Any) -> dict[str, jax.Array]:
        """Denominators of means that are not over all rows, counted over the whole batch."""
        return {}

    @abstractmethod
    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """Judge the student's parameters on a batch."""
