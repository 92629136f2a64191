"""A step with frozen parts: the plain step's gradients, less work, less state."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed.mesh import make_mesh
from albef_jax.losses.base import Random
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.models import albef
from albef_jax.models.frozen import NOTHING, Frozen
from albef_jax.train.memory import estimate
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, encode_frozen, prepared, step_keys, update
from tests.helpers.tiny_model import state_of

FROZEN = {
    "both encoders": Frozen(("image_encoder", "text_encoder")),
    "first layers": Frozen(
        ("image_proj", "temperature"),
        (("image_encoder", 1), ("text_encoder", 1), ("fusion_encoder", 1)),
    ),
}


def config_of(tiny, frozen=NOTHING, microbatches=1):
    model = frozen.model(tiny.config)
    return StepConfig(
        loss=PretrainingLoss(model, Recipe(contrast_group=4, mlm_probability=0.3)),
        optimizer=adamw(lambda step: jnp.float32(1e-3), 0.02),
        learning_rate=lambda step: jnp.float32(1e-3),
        alpha=lambda step: jnp.float32(0.4),
        momentum=0.9,
        microbatches=microbatches,
        frozen=frozen,
    )


def state_with(tiny, frozen):
    config = config_of(tiny, frozen)
    state = state_of(tiny.params, config.optimizer, 16)
    trained = frozen.trained(jax.tree.map(np.asarray, tiny.params))
    moments = jax.eval_shape(config.optimizer.init, trained)
    moments = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
    teacher = jax.tree.map(lambda leaf: np.float32(1.1) * leaf, albef.teacher_params(trained))
    return state.replace(teacher=jax.device_get(teacher), opt_state=moments)


def updated(config, state, batch):
    """One update without dropout, and its gradients."""
    keys = step_keys(config.loss, state.key, state.step)
    batch = prepared(batch)
    random = Random(config.loss.decide(keys, batch))
    after, metrics, looked = update(config, state, batch, random)
    return after, metrics, looked["grads"]


@pytest.fixture(scope="module")
def step_of(tiny, batch):
    """`updated` of a state with frozen parts, compiled once."""

    @cache
    def step_of(frozen):
        run = jax.jit(partial(updated, config_of(tiny, frozen)))
        return lambda state: run(state, batch._asdict())

    return step_of


@pytest.fixture(scope="module")
def plain_step(tiny, batch):
    """Metrics and gradients of the step without frozen parts; the update is not compiled."""
    run = jax.jit(lambda *given: updated(config_of(tiny), *given)[1:])
    return lambda state: run(state, batch._asdict())


@pytest.fixture(scope="module", params=FROZEN)
def both(tiny, step_of, plain_step, request):
    """The step with frozen parts, and the plain step of the same state."""
    frozen = FROZEN[request.param]
    before = state_with(tiny, frozen)
    whole = state_with(tiny, NOTHING).replace(
        teacher=frozen.whole_teacher(before.teacher, before.params)
    )
    return frozen, before, step_of(frozen)(before), plain_step(whole)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_the_plain_step(both):
    frozen, _, (_, metrics, grads), (plain_metrics, plain_grads) = both
    jax.tree.map(close, grads, frozen.trained(plain_grads))
    for name in ("loss_itc", "loss_mlm", "loss_itm"):
        close(metrics[name], plain_metrics[name])
    assert float(metrics["grad_norm"]) < float(plain_metrics["grad_norm"])


def test_frozen_parts_stay_and_the_others_move(both):
    frozen, before, (after, _, _), _ = both
    moved = jax.tree.map(lambda a, b: np.any(a != b), after.params, before.params)
    still = {name: moved[name] for name in frozen.modules}
    assert not any(jax.tree.leaves(still))
    for name, layers in frozen.layers:
        stack = {"image_encoder": "blocks"}.get(name, "layers")
        jax.tree.map(
            lambda a, b, rows=layers: np.testing.assert_array_equal(a[:rows], b[:rows]),
            after.params[name][stack],
            before.params[name][stack],
        )
    trained = frozen.trained(after.params), frozen.trained(before.params)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), *trained)))


def test_neither_teacher_nor_optimizer_have_what_is_frozen(both):
    frozen, _, (after, _, _), (_, plain_grads) = both
    expected = jax.tree.map(np.shape, frozen.trained(plain_grads))
    moments = jax.tree.map(np.shape, after.opt_state[0].mu)
    assert moments == expected
    assert jax.tree.map(np.shape, after.teacher) == albef.shared(expected)


@pytest.mark.parametrize("name", FROZEN)
def test_micro_batches_give_the_same_gradients(tiny, batch, step_of, name):
    frozen = FROZEN[name]
    before, config = state_with(tiny, frozen), config_of(tiny, frozen, microbatches=2)
    whole = step_of(frozen)(before)[2]
    parts = jax.jit(lambda *given: updated(config, *given)[2])(before, batch._asdict())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), whole, parts)


def test_tokens_in_place_of_pixels(tiny, batch, step_of):
    """A cached image is what its pixels would have been."""
    frozen = FROZEN["both encoders"]
    config, before = config_of(tiny, frozen), state_with(tiny, frozen)
    given = batch._asdict()
    image = prepared(given)["image"]
    tokens = jax.jit(lambda params: encode_frozen(tiny.config, params, image).tokens)(before.params)
    del given["image"]
    step = jax.jit(lambda *given: updated(config, *given)[1:])
    found = step(before, {**given, "image_tokens": tokens})
    jax.tree.map(close, found, step_of(frozen)(before)[1:])


def test_memory_falls(tiny, batch):
    mesh = make_mesh(devices=jax.devices()[:1])
    shapes = jax.eval_shape(lambda: batch._asdict())
    taken = {}
    for name, frozen in {"nothing": NOTHING, **FROZEN}.items():
        state = jax.eval_shape(lambda frozen=frozen: state_with(tiny, frozen))
        taken[name] = estimate(config_of(tiny, frozen), mesh, state, shapes)
    nothing, first, encoders = (
        taken[name] for name in ("nothing", "first layers", "both encoders")
    )
    for field in ("state", "gradients", "kept"):
        assert getattr(encoders, field) < getattr(first, field) < getattr(nothing, field)
