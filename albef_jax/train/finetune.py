"""One step of fine-tuning: the same for all downstream tasks, which differ in their loss.

Order of events, as officially: update the teacher with the student's weights from before this
step's update; loss; update the student.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from albef_jax.distributed.mesh import batch_sharding, on_mesh, state_shardings
from albef_jax.losses.queue import Queue
from albef_jax.models.albef import Params
from albef_jax.models.common import normalize
from albef_jax.train.ema import update_teacher
from albef_jax.train.resilience.nonfinite import skip_unless_finite
from albef_jax.train.schedules import Schedule
from albef_jax.train.state import TrainState
from albef_jax.train.step import Batch, Metrics, Step

STREAMS = ("decisions", "student_dropout", "teacher_dropout")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Random:
    """A step's randomness by purpose.

    Attributes:
        decisions: a random key, or what it would have decided, such as recorded hard negatives.
        student_dropout, teacher_dropout: keys; None switches dropout off.
    """

    decisions: Any
    student_dropout: jax.Array | None = None
    teacher_dropout: jax.Array | None = None


@dataclass(frozen=True)
class Known:
    """What a loss is given besides the student's parameters.

    Attributes:
        teacher: this step's teacher; empty without distillation.
        alpha: this step's distillation weight.
    """

    batch: Batch
    teacher: Params
    queue: Queue | None
    alpha: jax.Array
    random: Random


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outcome:
    """What a loss returns: metrics with `loss` among them, the next queue, and the inside."""

    metrics: Metrics
    queue: Queue | None = None
    inside: Any = None


Loss = Callable[[Params, Known], Outcome]


@dataclass(frozen=True)
class FinetuneConfig:
    """What a step needs to know.

    Attributes:
        learning_rate: reported only; the optimizer carries its own reference.
        alpha: distillation weight by step.
        momentum: of the teacher.
    """

    loss: Loss
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    alpha: Schedule
    momentum: float = 0.995


def update(
    config: FinetuneConfig, state: TrainState, batch: Batch, random: Random
) -> tuple[TrainState, Metrics, dict[str, Any]]:
    """The step with its randomness given; images are normalised already.

    Returns:
        The next state, the metrics, and `inside` and `grads` for those who look inside.
    """
    teacher = update_teacher(state.teacher, state.params, config.momentum)
    known = Known(batch, teacher, state.queue, config.alpha(state.step), random)

    def loss(params: Params):
        outcome = config.loss(params, known)
        return outcome.metrics["loss"], outcome

    grads, outcome = jax.grad(loss, has_aux=True)(state.params)
    updates, opt_state = config.optimizer.update(grads, state.opt_state, state.params)
    metrics = {
        **outcome.metrics,
        "lr": config.learning_rate(state.step),
        "alpha": known.alpha,
        "grad_norm": optax.tree.norm(grads),
    }
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        teacher=teacher,
        opt_state=opt_state,
        queue=outcome.queue,
    )
    state, metrics = skip_unless_finite(state, after, grads, metrics)
    return state, metrics, {"inside": outcome.inside, "grads": grads}


def finetune_step(
    config: FinetuneConfig, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Normalise uint8 images, derive this step's random keys, then `update`."""
    key = jax.random.fold_in(state.key, state.step)
    keys = {name: jax.random.fold_in(key, number) for number, name in enumerate(STREAMS)}
    batch = {**batch, "image": normalize(batch["image"])}
    state, metrics, _ = update(config, state, batch, Random(**keys))
    return state, metrics


def compile_finetune_step(config: FinetuneConfig, mesh: Mesh, abstract_state: TrainState) -> Step:
    """`finetune_step` jitted for `mesh`, donating the state."""
    shardings = state_shardings(mesh, abstract_state)
    return jax.jit(
        lambda state, batch: on_mesh(mesh, partial(finetune_step, config), state, batch),
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
