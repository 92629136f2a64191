"""Every task's step in micro-batches is its step on the whole batch, in float64."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.losses.classification import ClassificationLoss
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.losses.queue import init_queue
from albef_jax.losses.retrieval import RetrievalLoss
from albef_jax.losses.text_assignment import TextAssignmentLoss
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models import task_models
from albef_jax.models.classifiers import entailment_logits, nlvr_logits
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, train_step

TOLERANCE = 1e-6
GROUP, ROWS, LENGTH = 4, 16, 6
LOSSES = {
    "pretrain": lambda model: PretrainingLoss(model, Recipe(GROUP, 0.3)),
    "retrieval": lambda model: RetrievalLoss(model, GROUP),
    "entailment": lambda model: ClassificationLoss(model, entailment_logits),
    "nlvr": lambda model: ClassificationLoss(model, nlvr_logits),
    "nlvr_pretrain": lambda model: TextAssignmentLoss(model, GROUP),
    "vqa": VqaLoss,
}


def batch_of(model: str) -> dict[str, np.ndarray]:
    """One group is of a single image, so that it has no negatives; answers differ in number."""
    rng = np.random.default_rng(0)
    images = (ROWS, 2) if model == "nlvr" else (ROWS,)
    text_ids = rng.integers(1, 100, (ROWS, LENGTH), np.int32)
    text_ids[:, 0] = 101
    lengths = rng.integers(2, LENGTH + 1, (ROWS, 1))
    mask = (np.arange(LENGTH) < lengths).astype(np.int32)
    batch = {
        "image": rng.integers(0, 256, (*images, 16, 16, 3), np.uint8),
        "text_ids": text_ids * mask,
        "text_mask": mask,
    }
    if model == "retrieval":
        image_id = rng.integers(0, 9, ROWS, np.int32)
        image_id[GROUP : 2 * GROUP] = 3
        batch["image_id"] = image_id
    if model in ("entailment", "nlvr"):
        batch["label"] = rng.integers(0, task_models.MODELS[model].classes, ROWS, np.int32)
    if model == "vqa":
        answer_ids = rng.integers(1, 100, (ROWS, 2, 4), np.int32)
        answer_mask = (np.arange(4) < rng.integers(2, 5, (ROWS, 2, 1))).astype(np.int32)
        weight = rng.random((ROWS, 2)).astype(np.float32) * (rng.random((ROWS, 2)) < 0.7)
        batch |= {"answer_ids": answer_ids, "answer_mask": answer_mask, "answer_weight": weight}
    return batch


def precise(tree):
    def wide(leaf):
        return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf

    return jax.tree.map(wide, tree)


def test_these_are_the_models_of_all_tasks():
    assert {task_spec(task).model for task in TASKS} - {"grounding"} == LOSSES.keys()
    assert task_models.MODELS["grounding"] == task_models.MODELS["retrieval"]


@pytest.mark.parametrize("model", LOSSES)
def test_a_step_in_parts_is_the_step(model, tiny):
    optimizer = adamw(lambda step: jnp.float32(1e-3), 0.02)
    with jax.enable_x64(True):
        config = replace(tiny.config, dtype="float64")
        params = task_models.init(tiny.config, model, jax.random.key(3))
        queue = None
        if model in ("pretrain", "retrieval"):
            queue = init_queue(jax.random.key(1), 32, 8, with_ids=model == "retrieval")
        state = precise(state_from_params(params, optimizer, queue, jax.random.key(2)))
        whole = StepConfig(
            loss=LOSSES[model](config),
            optimizer=optimizer,
            learning_rate=lambda step: jnp.float32(1e-3),
            alpha=lambda step: jnp.float32(0.4),
        )

        def after(microbatches: int):
            step = replace(whole, microbatches=microbatches)
            return jax.jit(partial(train_step, step))(state, batch_of(model))

        (expected, metrics), (found, in_parts) = after(1), after(4)
    assert int(metrics["skipped"]) == 0
    assert float(metrics["grad_norm"]) > 0
    if model == "retrieval":
        assert int(metrics["pairs_without_negative"]) == GROUP
    for name, value in metrics.items():
        assert float(in_parts[name]) == pytest.approx(float(value), rel=TOLERANCE), name
    # Adam divides by the gradient's size: moments, not parameters, show what was computed.
    moments, same = (jax.tree.leaves(state.opt_state) for state in (found, expected))
    for ours, theirs in zip(moments, same, strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale + 1e-18)
    if expected.queue is not None:
        image = np.asarray(expected.queue.image)
        np.testing.assert_allclose(np.asarray(found.queue.image), image, atol=TOLERANCE)
        assert int(found.queue.pointer) == ROWS
