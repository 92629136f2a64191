"""The step around any loss, here one of two numbers."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.base import LossInputs, LossOutput, Random
from albef_jax.losses.queue import init_queue
from albef_jax.models.frozen import Frozen
from albef_jax.models.primitives import normalize
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, train_step, update
from tests.helpers.function_loss import FunctionLoss

STREAMS = FunctionLoss.streams
MOMENTUM, RATE, DECAY = 0.9, 1e-3, 0.5
IMAGE = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
BATCH = {"image": jnp.asarray(IMAGE), "label": jnp.arange(4)}


def small_loss(params, known):
    """Brightness times a weight should be the label; `inside` shows what the loss was given."""
    brightness = jnp.mean(known.batch["image"], axis=(1, 2, 3))
    found = params["layer"]["kernel"] * brightness + params["layer"]["bias"]
    metrics = {"loss": jnp.mean((found - known.batch["label"]) ** 2)}
    inside = {"teacher": known.teacher, "alpha": known.alpha, "decisions": known.random.decisions}
    return LossOutput(metrics, aux=inside)


FROZEN = Frozen(("still",))


def small_config(loss=small_loss):
    return StepConfig(
        loss=FunctionLoss(loss),
        optimizer=adamw(lambda step: jnp.float32(RATE), DECAY),
        learning_rate=lambda step: RATE * jnp.float32(step),
        alpha=lambda step: 0.1 * step,
        momentum=MOMENTUM,
        frozen=FROZEN,
    )


def small_state(teacher=None, queue=None):
    params = {
        "layer": {"kernel": jnp.float32(0.3), "bias": jnp.float32(-0.2)},
        "still": {"kernel": jnp.ones(2)},
        "temperature": jnp.float32(0.07),
    }
    optimizer = small_config().optimizer
    state = state_from_params(params, optimizer, queue, jax.random.key(2), teacher, FROZEN)
    return state.replace(step=jnp.int32(3))


TEACHER = {"layer": {"kernel": jnp.float32(2.0), "bias": jnp.float32(5.0)}}


@pytest.fixture(scope="module")
def small():
    """Before and after one update with a teacher: state, metrics, and a look inside."""
    before, config = small_state(TEACHER), small_config()
    batch = {**BATCH, "image": normalize(BATCH["image"])}
    random = Random(decisions=jnp.float32(7))
    return before, *jax.jit(lambda state: update(config, state, batch, random))(before)


def test_the_teacher_follows_the_student_from_before_the_update(small):
    before, after, _, _ = small
    for name in ("kernel", "bias"):
        old, student = (float(tree["layer"][name]) for tree in (TEACHER, before.params))
        expected = MOMENTUM * old + (1 - MOMENTUM) * student
        assert float(after.teacher["layer"][name]) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_given_the_updated_teacher_alpha_and_decisions(small):
    _, after, _, looked = small
    given = looked["aux"]["teacher"]
    jax.tree.map(np.testing.assert_array_equal, given.pop("still"), after.params["still"])
    jax.tree.map(np.testing.assert_array_equal, given, after.teacher)
    assert float(looked["aux"]["alpha"]) == pytest.approx(0.3)
    assert float(looked["aux"]["decisions"]) == 7


def test_one_step_of_adam(small):
    """Adam's first step is as long as the rate, against the gradient; the kernel is decayed."""
    before, after, _, looked = small
    for name, decay in (("kernel", DECAY), ("bias", 0.0)):
        old = float(before.params["layer"][name])
        direction = np.sign(float(looked["grads"]["layer"][name]))
        expected = old - RATE * (direction + decay * old)
        assert float(after.params["layer"][name]) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss(small):
    _, _, metrics, looked = small
    brightness = np.asarray(normalize(BATCH["image"]), np.float64).mean(axis=(1, 2, 3))
    error = 0.3 * brightness - 0.2 - np.arange(4)
    assert float(metrics["loss"]) == pytest.approx(np.mean(error**2), rel=1e-5)
    kernel, bias = 2 * np.mean(error * brightness), 2 * np.mean(error)
    assert float(looked["grads"]["layer"]["kernel"]) == pytest.approx(kernel, rel=1e-4)
    assert float(looked["grads"]["layer"]["bias"]) == pytest.approx(bias, rel=1e-4)
    assert float(metrics["grad_norm"]) == pytest.approx(np.hypot(kernel, bias), rel=1e-4)


def test_frozen_modules_stay_and_others_without_gradient_decay(small):
    before, after, _, _ = small
    np.testing.assert_array_equal(after.params["still"]["kernel"], before.params["still"]["kernel"])
    decayed = float(before.params["temperature"]) * (1 - RATE * DECAY)
    assert float(after.params["temperature"]) == pytest.approx(decayed, rel=1e-6)


def test_metrics_are_of_this_step(small):
    _, after, metrics, _ = small
    norms = {f"grad_norm/{module}" for module in ("layer", "temperature")}
    assert metrics.keys() == {"loss", "lr", "alpha", "grad_norm", "skipped", *norms}
    assert float(metrics["lr"]) == pytest.approx(3 * RATE)
    assert float(metrics["alpha"]) == pytest.approx(0.3)
    assert int(after.step) == 4


@pytest.fixture(scope="module")
def step():
    compiled = jax.jit(partial(train_step, small_config()))
    return lambda state: compiled(state, BATCH)


def test_without_a_teacher_none_is_kept(step):
    after, _ = step(small_state(teacher={}))
    assert after.teacher == {}
    assert after.queue is None


def test_without_a_teacher_none_is_computed():
    """The loss is not even given one."""
    given = []

    def loss(params, known):
        given.append(known)
        return small_loss(params, known)

    jax.eval_shape(partial(train_step, small_config(loss)), small_state(teacher={}), BATCH)
    (known,) = given
    assert isinstance(known, LossInputs)
    assert known.teacher == {}
    assert known.queue is None


def test_the_losss_features_enter_the_queue(step):
    queue = init_queue(jax.random.key(0), 8, 3, with_ids=True)
    same, _ = step(small_state(queue=queue))
    jax.tree.map(np.testing.assert_array_equal, same.queue, queue)

    def loss(params, known):
        outcome = small_loss(params, known)
        feat = jnp.ones((4, 3))
        return replace(outcome, teacher_features=(feat, -feat))

    step = jax.jit(partial(train_step, small_config(loss)))
    after, _ = step(small_state(queue=queue), BATCH | {"image_id": BATCH["label"]})
    assert after.queue.image_id.tolist() == [0, 1, 2, 3, -100, -100, -100, -100]
    assert np.all(np.asarray(after.queue.image)[:4] == 1)
    assert int(after.queue.pointer) == 4


def seen_by_the_loss(state):
    """What `train_step` hands on: the batch, and the random keys as numbers."""

    def loss(params, known):
        random = {name: jax.random.key_data(getattr(known.random, name)) for name in STREAMS}
        metrics = small_loss(params, known).metrics
        return LossOutput({**metrics, **random, **known.batch})

    return jax.device_get(jax.jit(partial(train_step, small_config(loss)))(state, BATCH)[1])


def test_images_are_normalised_and_the_rest_is_handed_on():
    seen = seen_by_the_loss(small_state())
    np.testing.assert_allclose(seen["image"], normalize(BATCH["image"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["label"], BATCH["label"])


def test_random_keys_are_distinct_by_purpose_step_and_root():
    states = [
        small_state(),
        small_state().replace(step=jnp.int32(4)),
        small_state().replace(key=jax.random.key(9)),
    ]
    keys = [
        tuple(seen[name].tolist()) for seen in map(seen_by_the_loss, states) for name in STREAMS
    ]
    assert len(set(keys)) == len(keys) == 9
    again = seen_by_the_loss(states[0])
    assert [tuple(again[name].tolist()) for name in STREAMS] == keys[:3]
