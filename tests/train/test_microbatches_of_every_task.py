"""Every task's step in micro-batches, on a mesh, with texts padded no further than they need, is
its step on the whole batch of wider texts, in float64.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.pretraining import PretrainingLoss
from albef_jax.models import task_models
from albef_jax.train.step import StepConfig, compile_step, train_step
from tests.helpers.every_task import (
    CASES,
    GROUP,
    LENGTH,
    LOSSES,
    ROWS,
    batch_of,
    padded,
    precise,
)
from tests.helpers.tiny_model import random_params, state_of

# Float64 leaves nothing of rounding: float32 has an error of up to 2e-6 by itself.
TOLERANCE = 1e-9
WIDE = LENGTH + 5


def test_these_are_the_models_of_all_tasks():
    assert {task_spec(task).model for task in TASKS} - {"grounding"} == LOSSES.keys()
    assert task_models.MODELS["grounding"] == task_models.MODELS["retrieval"]


def parts_of(model: str) -> int:
    """With two parts of a batch in groups, each part takes groups from two places."""
    return 2 if model == "pretrain" else 4


def test_the_parts_have_unequal_numbers_of_words():
    """So that a plain mean over parts would be wrong."""
    first, second = batch_of("pretrain")["text_mask"].reshape(2, -1)
    assert first.sum() != second.sum()


def loss_of(case: str, tiny):
    """Masking is drawn for `WIDE` tokens."""
    pooling = "mean" if "mean pooling" in case else "cls"
    loss = CASES[case](replace(tiny.config, dtype="float64", text_pooling=pooling))
    return replace(loss, text_len=WIDE) if isinstance(loss, PretrainingLoss) else loss


@pytest.mark.parametrize("case", CASES)
def test_a_step_in_parts_on_a_mesh_is_the_step(case, tiny):
    """On four devices, against the whole batch of texts with more padding on one."""
    model = case.partition(" ")[0]
    with_ids = model == "retrieval" or "with image ids" in case
    # Its state is the gradients themselves; parameters would not show how they differ.
    optimizer = optax.GradientTransformation(lambda params: params, lambda grads, *_: (grads,) * 2)
    params = random_params(tiny.config, 3, model)
    queue_length = 2 * ROWS if model in ("pretrain", "retrieval") else 0
    batch = batch_of(model, with_ids)
    with jax.enable_x64(True):
        state = precise(state_of(params, optimizer, queue_length, with_ids=with_ids))
        abstract = jax.eval_shape(lambda: state)
        whole = StepConfig(
            loss=loss_of(case, tiny),
            optimizer=optimizer,
            learning_rate=lambda step: jnp.float32(1e-3),
            alpha=lambda step: jnp.float32(0.4),
        )

        @jax.jit
        def plain(state, batch):
            """What is compared, alone: the rest need not be compiled."""
            after, metrics = train_step(whole, state, batch)
            return after.opt_state, after.queue, metrics

        expected, queue, metrics = jax.device_get(plain(state, padded(batch, WIDE)))
        parts = replace(whole, microbatches=parts_of(model))
        if model == "vqa":  # with answers side by side, in several passes
            parts = replace(parts, loss=replace(parts.loss, rows=2, contrast_group=2))
        mesh = make_mesh(devices=jax.devices()[:4])
        placed = jax.device_put(state, state_shardings(mesh, abstract))
        step = compile_step(parts, mesh, abstract)
        found, in_parts = jax.device_get(step(placed, to_devices(mesh, batch)))
    assert metrics["skipped"] == 0
    assert metrics["grad_norm"] > 0
    if model == "pretrain":
        assert metrics["loss_mlm"] > 0 and metrics["mlm_overflow"] == 0
    assert metrics.keys() == in_parts.keys()
    if with_ids:
        assert metrics["pairs_without_negative"] == GROUP
    for name, value in metrics.items():
        assert in_parts[name] == pytest.approx(value, rel=TOLERANCE), name
    grads, same = (jax.tree.leaves(tree) for tree in (found.opt_state, expected))
    for ours, theirs in zip(grads, same, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale + 1e-17)
    if queue is not None:
        for ours, theirs in zip(found.queue[:2], queue[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
        assert found.queue.pointer == ROWS
