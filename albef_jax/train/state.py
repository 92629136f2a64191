"""Everything a run must keep to continue exactly: one pytree."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from albef_jax.losses.queue import Queue, init_queue
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.frozen import NOTHING, Frozen


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The state of a run after `step` updates.

    The position in the data follows from `step` (see `data.pipeline`), and so needs no entry.

    Attributes:
        teacher: without what is frozen, which is the student's; empty for a task without momentum
            distillation.
        queue: None for a task without contrast.
        key: the root random key, constant; each step folds in its number.
    """

    step: Int[Array, ""]
    params: Params
    teacher: Params
    opt_state: optax.OptState
    queue: Queue | None
    key: Array

    replace = replace

    def items(self) -> dict[str, Any]:
        """The parts that a checkpoint keeps apart, so that tools can read one alone."""
        train = {"opt_state": self.opt_state, "key": self.key, "step": self.step}
        if self.queue is not None:
            train["queue"] = self.queue.arrays()
        teacher = {"teacher": self.teacher} if self.teacher else {}
        return {"params": self.params, **teacher, "train": train}

    @staticmethod
    def from_items(items: dict[str, Any]) -> "TrainState":
        """The inverse of `items`."""
        train = dict(items["train"])
        queue = Queue(**train.pop("queue")) if "queue" in train else None
        return TrainState(
            params=items["params"], teacher=items.get("teacher", {}), queue=queue, **train
        )


def init_state(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    queue_length: int,
    key: Array,
    frozen: Frozen = NOTHING,
) -> TrainState:
    """A fresh state: the teacher starts as the student, the queue as random unit vectors."""
    params_key, queue_key, root = jax.random.split(key, 3)
    params = albef.init(config, params_key)
    queue = init_queue(queue_key, queue_length, config.embed_dim)
    return state_from_params(params, optimizer, queue, root, frozen=frozen)


def state_from_params(
    params: Params,
    optimizer: optax.GradientTransformation,
    queue: Queue | None,
    key: Array,
    teacher: Params | None = None,
    frozen: Frozen = NOTHING,
) -> TrainState:
    """A state at step 0 with given parameters; without `teacher` it is a copy of the student.

    Args:
        teacher: its trained part.
        frozen: what the optimizer has no state for.
    """
    trained = frozen.trained(params)
    teacher = albef.teacher_params(trained) if teacher is None else teacher
    return TrainState(jnp.int32(0), params, teacher, optimizer.init(trained), queue, key)
