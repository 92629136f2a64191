"""One train step for all tasks: a pure function of state and batch, jitted once, state donated.

A task differs in its `Loss` alone. The order of events is that of the official code
(LEDGER, ITC): clamp the temperature if the loss requires it; update the teacher with the student's
weights from before this step; compute loss and gradient; enqueue the teacher's features; update
the student.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from albef_jax.distributed.mesh import batch_sharding, on_mesh, state_shardings
from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput, Metrics, Random
from albef_jax.losses.queue import Queue, enqueue
from albef_jax.models.albef import Images, ImageTokens, Params, encode_image
from albef_jax.models.config import ModelConfig
from albef_jax.models.frozen import NOTHING, Frozen, completed
from albef_jax.models.primitives import normalize
from albef_jax.train.ema import update_teacher
from albef_jax.train.gradient_accumulation import accumulate, merge, split
from albef_jax.train.resilience.nonfinite import skip_unless_finite
from albef_jax.train.schedules import Schedule
from albef_jax.train.state import TrainState

COUNTED = ("mlm_overflow", "pairs_without_negative")  # summed over micro-batches, not averaged

L = TypeVar("L", bound=Loss)
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class StepConfig(Generic[L]):
    """What a step needs to know.

    Attributes:
        learning_rate: reported only; the optimizer carries its own reference.
        alpha: distillation weight by step.
        momentum: of the teacher.
        microbatches: parts of the batch to take one after the other, whole contrast groups each.
        shards: devices that rows of a batch lie on.
        frozen: what gets no gradient, no optimizer state and no teacher of its own.
    """

    loss: L
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    alpha: Schedule
    momentum: float = 0.995
    microbatches: int = 1
    shards: int = 1
    frozen: Frozen = NOTHING


def step_keys(loss: Loss, key: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
    """Independent random keys of one step, by purpose."""
    key = jax.random.fold_in(key, step)
    return {name: jax.random.fold_in(key, number) for number, name in enumerate(loss.streams)}


def update(
    config: StepConfig, state: TrainState, batch: Batch, random: Random
) -> tuple[TrainState, Metrics, dict[str, Any]]:
    """The step with its random decisions given; images are normalised already.

    Returns:
        The next state, the metrics, and for inspection `grads` and the loss's `aux` (None with
        micro-batches).
    """
    loss = config.loss
    params = _clamp_temperature(loss, state.params)
    trained = config.frozen.trained(params)
    teacher = update_teacher(state.teacher, trained, config.momentum)
    alpha = config.alpha(state.step)
    gradient = partial(_gradient, config, trained, params, teacher, state.queue, alpha)
    totals = loss.totals(batch, random.decisions)
    if config.microbatches == 1:
        grads, output = gradient(batch, random, totals)
    else:
        grads, output = _in_microbatches(config, gradient, trained, batch, random, totals)
    updates, opt_state = config.optimizer.update(grads, state.opt_state, trained)
    metrics = {
        **output.metrics,
        "lr": config.learning_rate(state.step),
        "alpha": alpha,
        "grad_norm": optax.tree.norm(grads),
    }
    after = state.replace(
        step=state.step + 1,
        params=completed(optax.apply_updates(trained, updates), params),
        teacher=teacher,
        opt_state=opt_state,
        queue=_enqueued(state.queue, output, batch),
    )
    state, metrics = skip_unless_finite(state, after, grads, metrics)
    return state, metrics, {"aux": output.aux, "grads": grads}


def _clamp_temperature(loss: Loss, params: Params) -> Params:
    if loss.temperature_range is None:
        return params
    return {**params, "temperature": jnp.clip(params["temperature"], *loss.temperature_range)}


def _gradient(
    config: StepConfig,
    trained: Params,
    params: Params,
    teacher: Params,
    queue: Queue | None,
    alpha: jax.Array,
    batch: Batch,
    random: Random,
    totals: dict[str, jax.Array],
) -> tuple[Params, LossOutput]:
    """The gradient of the loss on a batch or a micro-batch, and what else the loss returns."""
    inputs = LossInputs(batch, teacher, queue, alpha, random, totals)

    def objective(trained: Params) -> tuple[jax.Array, LossOutput]:
        output = judge(config.loss, config.frozen, trained, params, inputs)
        return output.metrics["loss"], output

    return jax.grad(objective, has_aux=True)(trained)


def judge(
    loss: Loss, frozen: Frozen, trained: Params, params: Params, inputs: LossInputs
) -> LossOutput:
    """The loss of a student whose trained part is `trained`, and the rest that of `params`.

    A frozen image encoder is called once, for student and teacher.

    Args:
        inputs: with the trained part of the teacher.
    """
    batch = inputs.batch
    if "image_encoder" in frozen.modules:
        image = encode_frozen(loss.model, params, batch["image"])
        batch = {**batch, "image": image}
    teacher = frozen.whole_teacher(inputs.teacher, params)
    inputs = replace(inputs, batch=batch, teacher=teacher)
    return loss(completed(trained, params), inputs)


def encode_frozen(model: ModelConfig, params: Params, image: Images) -> ImageTokens:
    """Tokens of one or two images a row `[B, *, H, W, 3]`, without a gradient."""
    if isinstance(image, ImageTokens):
        return image
    tokens = encode_image(model, params, image.reshape(-1, *image.shape[-3:]))
    return ImageTokens(tokens.reshape(*image.shape[:-3], *tokens.shape[1:]))


def _in_microbatches(
    config: StepConfig,
    gradient: Callable[[Batch, Random, dict[str, jax.Array]], tuple[Params, LossOutput]],
    trained: Params,
    batch: Batch,
    random: Random,
    totals: dict[str, jax.Array],
) -> tuple[Params, LossOutput]:
    """The same as `gradient` of the whole batch, one part after the other.

    Each part has dropout keys of its own. `blocks` keeps rows on their devices: every part takes
    rows from each of them.
    """
    parts = config.microbatches
    groups = len(batch["text_ids"]) // config.loss.contrast_group
    blocks = math.gcd(groups // parts, config.shards)
    totals = {name: total / parts for name, total in totals.items()}

    def of_part(part: tuple[Batch, Any], number: jax.Array):
        rows, decisions = part
        keys = (
            None if key is None else jax.random.fold_in(key, number)
            for key in (random.student_dropout, random.teacher_dropout)
        )
        grads, output = gradient(rows, Random(decisions, *keys), totals)
        return grads, (output.metrics, output.teacher_features)

    zeros = jax.tree.map(jnp.zeros_like, trained)
    cut = split((batch, random.decisions), parts, blocks)
    grads, (metrics, features) = accumulate(of_part, zeros, cut, parts)
    metrics = {
        name: jnp.sum(values) if name in COUNTED else jnp.mean(values, axis=0)
        for name, values in metrics.items()
    }
    return grads, LossOutput(metrics, merge(features, blocks))


def _enqueued(queue: Queue | None, output: LossOutput, batch: Batch) -> Queue | None:
    if queue is None or output.teacher_features is None:
        return queue
    return enqueue(queue, *output.teacher_features, batch.get("image_id"))


def train_step(config: StepConfig, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Normalise the images, draw this step's random decisions, then `update`.

    Args:
        batch: what `prepared` takes, and what the loss needs.
    """
    keys = step_keys(config.loss, state.key, state.step)
    batch = prepared(batch)
    decisions = config.loss.decide(keys, batch)
    random = Random(decisions, keys["student_dropout"], keys["teacher_dropout"])
    state, metrics, _ = update(config, state, batch, random)
    return state, metrics


def prepared(batch: Batch) -> Batch:
    """A batch with `image` as the loss takes it.

    Args:
        batch: with `image` uint8 `[B, H, W, 3]` (two images `[B, 2, H, W, 3]`), or instead with
            `image_tokens` `[B, N, D]` of a frozen encoder.
    """
    if "image_tokens" in batch:
        return {**batch, "image": ImageTokens(batch["image_tokens"])}
    return {**batch, "image": normalize(batch["image"])}


def compile_step(
    config: StepConfig,
    mesh: Mesh,
    abstract_state: TrainState,
    xla_flags: dict[str, bool | int | str] | None = None,
) -> jax.stages.Wrapped:
    """`train_step` jitted for `mesh`, donating the state.

    Args:
        xla_flags: options of XLA beside those of the environment (`train.xla_flags`).
    """
    shardings = state_shardings(mesh, abstract_state)
    rows = batch_sharding(mesh)
    config = replace(config, shards=mesh.size)
    return jax.jit(
        lambda state, batch: on_mesh(mesh, partial(train_step, config), state, batch),
        in_shardings=(shardings, rows),
        out_shardings=(shardings, None),
        donate_argnums=0,
        compiler_options=xla_flags or None,
    )
