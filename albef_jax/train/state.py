"""Everything a run must keep to continue exactly: one pytree."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.sizes import ModelConfig
from albef_jax.train.queue import Queue, init_queue


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The state of a pre-training run after `step` updates.

    The position in the data follows from `step` (see `data.pipeline`), and so needs no entry.

    Attributes:
        key: the root random key, constant; each step folds in its number.
    """

    step: Int[Array, ""]
    params: Params
    teacher: Params
    opt_state: optax.OptState
    queue: Queue
    key: Array

    replace = replace

    def items(self) -> dict[str, Any]:
        """The parts that a checkpoint keeps apart, so that tools can read one alone."""
        rest = {"opt_state": self.opt_state, "queue": self.queue, "key": self.key}
        train = {**rest, "step": self.step}
        return {"params": self.params, "teacher": self.teacher, "train": train}

    @staticmethod
    def from_items(items: dict[str, Any]) -> "TrainState":
        """The inverse of `items`."""
        return TrainState(params=items["params"], teacher=items["teacher"], **items["train"])


def init_state(
    config: ModelConfig, optimizer: optax.GradientTransformation, queue_length: int, key: Array
) -> TrainState:
    """A fresh state: the teacher starts as the student, the queue as random unit vectors."""
    params_key, queue_key, root = jax.random.split(key, 3)
    params = albef.init(config, params_key)
    return state_from_params(
        params, optimizer, init_queue(queue_key, queue_length, config.embed_dim), root
    )


def state_from_params(
    params: Params,
    optimizer: optax.GradientTransformation,
    queue: Queue,
    key: Array,
    teacher: Params | None = None,
) -> TrainState:
    """A state at step 0 with given parameters; without `teacher` it is a copy of the student."""
    teacher = albef.teacher_params(params) if teacher is None else teacher
    return TrainState(jnp.int32(0), params, teacher, optimizer.init(params), queue, key)
