"""One pre-training step: a pure function of state and batch, jitted once, its state donated.

Order of events, as officially (LEDGER, ITC): clamp the temperature; update the teacher with the
student's weights from before this step's update; teacher forward; student forward and loss;
enqueue the teacher's features; update the student.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from albef_jax.distributed.mesh import batch_sharding, on_mesh, state_shardings
from albef_jax.losses import masked_lm, pretraining
from albef_jax.losses.masked_lm import Positions
from albef_jax.losses.matching import Negatives, Noise, draw_noise
from albef_jax.losses.pretraining import Inputs, Recipe, Student, Teacher
from albef_jax.losses.queue import Queue, enqueue
from albef_jax.models.albef import Params
from albef_jax.models.common import normalize
from albef_jax.models.config import ModelConfig
from albef_jax.train.ema import update_teacher
from albef_jax.train.gradient_accumulation import accumulate, merge, split
from albef_jax.train.resilience.nonfinite import skip_unless_finite
from albef_jax.train.schedules import Schedule
from albef_jax.train.state import TrainState

TEMPERATURE_RANGE = (0.001, 0.5)
COUNTED = ("mlm_overflow", "pairs_without_negative")  # summed over parts, not averaged
STREAMS = ("mask", "negatives", "student_dropout", "teacher_dropout")

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class StepConfig:
    """What a step needs to know.

    Attributes:
        learning_rate: reported only; the optimizer carries its own reference.
        alpha: distillation weight by step.
        momentum: of the teacher.
        microbatches: parts of the batch to take one after the other, whole contrast groups each.
        shards: devices that rows of a batch lie on.
    """

    model: ModelConfig
    recipe: Recipe
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    alpha: Schedule
    momentum: float = 0.995
    microbatches: int = 1
    shards: int = 1


class Part(NamedTuple):
    """A batch, or a part of one, and its random decisions."""

    inputs: Inputs
    positions: Positions
    negatives: Negatives | Noise


class Outcome(NamedTuple):
    """What comes out of a part besides its gradient."""

    metrics: Metrics
    student: Student
    teacher: Teacher


def streams(key: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
    """Independent random keys of one step, by purpose."""
    key = jax.random.fold_in(key, step)
    return {name: jax.random.fold_in(key, number) for number, name in enumerate(STREAMS)}


def update(
    config: StepConfig,
    state: TrainState,
    inputs: Inputs,
    negatives: Negatives | Noise,
    dropout: tuple[jax.Array | None, jax.Array | None],
) -> tuple[TrainState, Metrics, dict[str, Any]]:
    """The step with its random decisions given.

    Args:
        negatives: hard negatives, or the noise to draw them with.
        dropout: keys for student and teacher; None switches dropout off.

    Returns:
        The next state, the metrics, and `grads` for those who look inside; of a batch in one part
        also `student` and `teacher`.
    """
    temperature = jnp.clip(state.params["temperature"], *TEMPERATURE_RANGE)
    params = {**state.params, "temperature": temperature}
    teacher = update_teacher(state.teacher, params, config.momentum)
    alpha = config.alpha(state.step)
    assert state.queue is not None
    batch = Part(inputs, pretraining.pack_masked(config.recipe, inputs), negatives)
    gradient = partial(_gradient, config, params, teacher, state.queue, alpha)
    if config.microbatches == 1:
        grads, outcome = gradient(batch, dropout)
        features = outcome.teacher.image_feat, outcome.teacher.text_feat
        metrics, inside = outcome.metrics, {"student": outcome.student, "teacher": outcome.teacher}
    else:
        grads, metrics, features = _in_parts(config, gradient, params, batch, dropout)
        inside = {}
    updates, opt_state = config.optimizer.update(grads, state.opt_state, params)
    metrics = {
        **metrics,
        "lr": config.learning_rate(state.step),
        "temperature": temperature,
        "alpha": alpha,
        "grad_norm": optax.tree.norm(grads),
    }
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(params, updates),
        teacher=teacher,
        opt_state=opt_state,
        queue=enqueue(state.queue, *features),
    )
    state, metrics = skip_unless_finite(state, after, grads, metrics)
    return state, metrics, {**inside, "grads": grads}


def _gradient(
    config: StepConfig,
    params: Params,
    teacher_params: Params,
    queue: Queue,
    alpha: jax.Array,
    part: Part,
    dropout: tuple[jax.Array | None, jax.Array | None],
    mlm_weight: jax.Array | float = 1.0,
) -> tuple[Params, Outcome]:
    """Teacher, student, loss and gradient."""
    teacher = pretraining.teacher_forward(
        config.model, teacher_params, part.inputs, part.positions, dropout[1]
    )
    loss = partial(student_loss, config)
    return jax.grad(loss, has_aux=True)(params, teacher, queue, alpha, part, dropout[0], mlm_weight)


def student_loss(
    config: StepConfig,
    params: Params,
    teacher: Teacher,
    queue: Queue,
    alpha: jax.Array,
    part: Part,
    dropout_key: jax.Array | None,
    mlm_weight: jax.Array | float = 1.0,
) -> tuple[jax.Array, Outcome]:
    """The loss, a function of the student's parameters, and what else comes out of it."""
    inputs, positions, negatives = part
    student = pretraining.student_forward(
        config.model,
        config.recipe,
        params,
        inputs,
        positions,
        teacher,
        pretraining.Keys(queue.image, queue.text),
        negatives,
        dropout_key,
    )
    trained = config.recipe.losses
    metrics = pretraining.losses(student, teacher, inputs, positions, alpha, mlm_weight, trained)
    return metrics["loss"], Outcome(metrics, student, teacher)


def _in_parts(config: StepConfig, gradient: Callable, params: Params, batch: Part, dropout):
    """Gradients, metrics and teacher features of the batch, computed part by part."""
    count = config.microbatches
    blocks = math.gcd(len(batch.positions.used) // count, config.shards)
    masked = jnp.maximum(jnp.sum(batch.positions.used), 1)

    def one(part: Part, number: jax.Array):
        keys = tuple(None if key is None else jax.random.fold_in(key, number) for key in dropout)
        weight = count * jnp.sum(part.positions.used) / masked
        grads, outcome = gradient(part, keys, weight)
        return grads, (outcome.metrics, (outcome.teacher.image_feat, outcome.teacher.text_feat))

    grads, (metrics, features) = accumulate(
        one, jax.tree.map(jnp.zeros_like, params), split(batch, count, blocks), count
    )
    metrics = {
        name: jnp.sum(values) if name in COUNTED else jnp.mean(values)
        for name, values in metrics.items()
    }
    return grads, metrics, merge(features, blocks)


def train_step(config: StepConfig, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Draw this step's random decisions, then `update`.

    Args:
        batch: `image` uint8 `[B, H, W, 3]`, `text_ids` and `text_mask` int32 `[B, T]`.
    """
    keys = streams(state.key, state.step)
    recipe = config.recipe
    draws = masked_lm.draw_masking(
        keys["mask"], batch["text_ids"].shape, recipe.mlm_probability, config.model.vocab_size
    )
    masked = masked_lm.mask_text(batch["text_ids"], draws, recipe.special)
    inputs = Inputs(normalize(batch["image"]), batch["text_ids"], batch["text_mask"], masked)
    dropout = (keys["student_dropout"], keys["teacher_dropout"])
    size = recipe.contrast_group
    noise = draw_noise(keys["negatives"], len(inputs.text_ids) // size, size)
    state, metrics, _ = update(config, state, inputs, noise, dropout)
    return state, metrics


def compile_step(config: StepConfig, mesh: Mesh, abstract_state: TrainState) -> jax.stages.Wrapped:
    """`train_step` jitted for `mesh`, donating the state."""
    shardings = state_shardings(mesh, abstract_state)
    rows = batch_sharding(mesh)
    config = replace(config, shards=mesh.size)
    return jax.jit(
        lambda state, batch: on_mesh(mesh, partial(train_step, config), state, batch),
        in_shardings=(shardings, rows),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
