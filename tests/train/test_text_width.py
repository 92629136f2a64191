"""How far texts are padded changes no step of any task, in float64."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.pretraining import PretrainingLoss
from albef_jax.train.step import StepConfig, compile_step
from tests.helpers.every_task import LENGTH, LOSSES, ROWS, batch_of, precise
from tests.helpers.tiny_model import random_params, state_of

TOLERANCE = 1e-10
WIDE = LENGTH + 5
# Its moments are the gradients themselves; parameters would not show how they differ.
OPTIMIZER = optax.sgd(1e-3, momentum=0.9)


def padded(batch, width):
    """The same texts."""
    more = (0, 0), (0, width - LENGTH)
    texts = {name: np.pad(batch[name], more) for name in ("text_ids", "text_mask")}
    return batch | texts


def step_of(model, tiny, state, pooling):
    """The step of a task; masking is drawn for `WIDE` tokens."""
    loss = LOSSES[model](replace(tiny.config, dtype="float64", text_pooling=pooling))
    if isinstance(loss, PretrainingLoss):
        loss = replace(loss, text_len=WIDE)
    rate = lambda step: jnp.float32(1e-3)  # noqa: E731
    alpha = lambda step: jnp.float32(0.4)  # noqa: E731
    config = StepConfig(loss, OPTIMIZER, rate, alpha)
    mesh, abstract = make_mesh(devices=jax.devices()[:1]), jax.eval_shape(lambda: state)
    step = compile_step(config, mesh, abstract)

    def after(batch):
        fresh = state.replace(key=jax.random.key(2))  # the step donates its state
        placed = jax.device_put(fresh, state_shardings(mesh, abstract))
        return jax.device_get(step(placed, to_devices(mesh, batch)))

    return after


@pytest.mark.parametrize(
    ("model", "pooling"), [("pretrain", "mean"), *((model, "cls") for model in LOSSES)]
)
def test_the_step_is_that_of_the_wider_texts(model, pooling, tiny):
    with_ids = model == "retrieval"
    queue_length = 2 * ROWS if model in ("pretrain", "retrieval") else 0
    batch, params = batch_of(model, with_ids), random_params(tiny.config, 3, model)
    with jax.enable_x64(True):
        state = precise(state_of(params, OPTIMIZER, queue_length, with_ids=with_ids))
        after = step_of(model, tiny, state, pooling)
        (wide, expected), (narrow, found) = after(padded(batch, WIDE)), after(batch)
    assert found.keys() == expected.keys()
    assert found["skipped"] == 0 and found["grad_norm"] > 0
    if model == "pretrain":
        assert found["loss_mlm"] > 0 and found["mlm_overflow"] == 0
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=TOLERANCE), name
    moments, same = (jax.tree.leaves(state.opt_state) for state in (narrow, wide))
    for ours, theirs in zip(moments, same, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale + 1e-17)
    if wide.queue is not None:
        np.testing.assert_allclose(narrow.queue.text, wide.queue.text, atol=TOLERANCE)


def masking(tiny, batch, text_len):
    loss = replace(LOSSES["pretrain"](tiny.config), text_len=text_len)
    keys = {name: jax.random.key(number) for number, name in enumerate(loss.streams)}
    arrays = jax.tree.map(jnp.asarray, batch)
    return jax.device_get(loss.decide(keys, arrays).masked)


def test_masked_words_do_not_depend_on_the_padding(tiny):
    batch = batch_of("pretrain")
    wide, narrow = (masking(tiny, one, WIDE) for one in (padded(batch, WIDE), batch))
    np.testing.assert_array_equal(narrow.selected, wide.selected[:, :LENGTH])
    np.testing.assert_array_equal(narrow.text_ids, wide.text_ids[:, :LENGTH])
    assert narrow.selected.any() and not wide.selected[:, LENGTH:].any()


def test_without_buckets_they_are_those_of_before(tiny):
    """Drawn for the batch's own width, they are the same draws as without a width."""
    batch = batch_of("pretrain")
    plain, given, other = (masking(tiny, batch, width) for width in (None, LENGTH, WIDE))
    np.testing.assert_array_equal(given.text_ids, plain.text_ids)
    assert (other.text_ids != plain.text_ids).any()
