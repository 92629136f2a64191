"""One pre-training step: a pure function of state and batch, jitted once, its state donated.

Order of events, as published (LEDGER, ITC): clamp the temperature; update the teacher with the
student's weights from before this step's update; teacher forward; student forward and loss;
enqueue the teacher's features; update the student.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from albef_jax.models.pixels import normalize
from albef_jax.models.sizes import ModelConfig
from albef_jax.objectives import masking, pretraining
from albef_jax.objectives.matching import Negatives
from albef_jax.objectives.pretraining import Inputs, Recipe
from albef_jax.train.mesh import batch_sharding, state_shardings
from albef_jax.train.queue import enqueue
from albef_jax.train.schedules import Schedule
from albef_jax.train.state import TrainState
from albef_jax.train.teacher import update_teacher

TEMPERATURE_RANGE = (0.001, 0.5)
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
    """

    model: ModelConfig
    recipe: Recipe
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    alpha: Schedule
    momentum: float = 0.995


def streams(key: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
    """Independent random keys of one step, by purpose."""
    key = jax.random.fold_in(key, step)
    return {name: jax.random.fold_in(key, number) for number, name in enumerate(STREAMS)}


def update(
    config: StepConfig,
    state: TrainState,
    inputs: Inputs,
    negatives: Negatives | jax.Array,
    dropout: tuple[jax.Array | None, jax.Array | None],
) -> tuple[TrainState, Metrics, dict[str, Any]]:
    """The step with its random decisions given.

    Args:
        negatives: hard negatives, or the key to draw them.
        dropout: keys for student and teacher; None switches dropout off.

    Returns:
        The next state, the metrics, and `student`, `teacher`, `grads` for those who look inside.
    """
    temperature = jnp.clip(state.params["temperature"], *TEMPERATURE_RANGE)
    params = {**state.params, "temperature": temperature}
    teacher_params = update_teacher(state.teacher, params, config.momentum)
    assert state.queue is not None
    positions = pretraining.pack_masked(config.recipe, inputs)
    teacher = pretraining.teacher_forward(
        config.model, teacher_params, inputs, positions, dropout[1]
    )
    alpha = config.alpha(state.step)
    keys = pretraining.Keys(state.queue.image, state.queue.text)

    def loss(params):
        student = pretraining.student_forward(
            config.model,
            config.recipe,
            params,
            inputs,
            positions,
            teacher,
            keys,
            negatives,
            dropout[0],
        )
        metrics = pretraining.losses(student, teacher, inputs, positions, alpha)
        return metrics["loss"], (metrics, student)

    grads, (metrics, student) = jax.grad(loss, has_aux=True)(params)
    updates, opt_state = config.optimizer.update(grads, state.opt_state, params)
    metrics |= {
        "lr": config.learning_rate(state.step),
        "temperature": temperature,
        "alpha": alpha,
        "grad_norm": optax.tree.norm(grads),
    }
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(params, updates),
        teacher=teacher_params,
        opt_state=opt_state,
        queue=enqueue(state.queue, teacher.image_feat, teacher.text_feat),
    )
    return state, metrics, {"student": student, "teacher": teacher, "grads": grads}


def train_step(config: StepConfig, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Draw this step's random decisions, then `update`.

    Args:
        batch: `image` uint8 `[B, H, W, 3]`, `text_ids` and `text_mask` int32 `[B, T]`.
    """
    keys = streams(state.key, state.step)
    recipe = config.recipe
    draws = masking.draw(
        keys["mask"], batch["text_ids"].shape, recipe.mlm_probability, config.model.vocab_size
    )
    masked = masking.mask_text(batch["text_ids"], draws, recipe.special)
    inputs = Inputs(normalize(batch["image"]), batch["text_ids"], batch["text_mask"], masked)
    dropout = (keys["student_dropout"], keys["teacher_dropout"])
    state, metrics, _ = update(config, state, inputs, keys["negatives"], dropout)
    return state, metrics


def compile_step(config: StepConfig, mesh: Mesh, abstract_state: TrainState) -> Step:
    """`train_step` jitted for `mesh`, donating the state."""
    shardings = state_shardings(mesh, abstract_state)
    rows = batch_sharding(mesh)
    return jax.jit(
        lambda state, batch: train_step(config, state, batch),
        in_shardings=(shardings, rows),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
