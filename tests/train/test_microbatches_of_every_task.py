"""Every task's step in micro-batches, on a mesh, is its step on the whole batch, in float64."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.classification import ClassificationLoss
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.losses.retrieval import RetrievalLoss
from albef_jax.losses.text_assignment import TextAssignmentLoss
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models import task_models
from albef_jax.models.classifiers import entailment_logits, nlvr_logits
from albef_jax.train.step import StepConfig, compile_step
from tests.helpers.tiny_model import random_params, state_of

# Float64 leaves nothing of rounding: float32 has an error of up to 2e-6 by itself.
TOLERANCE = 1e-9
GROUP, ROWS, LENGTH = 4, 16, 6
LOSSES = {
    "pretrain": lambda model: PretrainingLoss(model, Recipe(GROUP, 0.3)),
    "retrieval": lambda model: RetrievalLoss(model, GROUP),
    "entailment": lambda model: ClassificationLoss(model, entailment_logits),
    "nlvr": lambda model: ClassificationLoss(model, nlvr_logits),
    "nlvr_pretrain": lambda model: TextAssignmentLoss(model, GROUP),
    "vqa": VqaLoss,
}
CASES = {
    **LOSSES,
    "pretrain with image ids": lambda model: PretrainingLoss(
        model, Recipe(GROUP, 0.3, same_image_positives=True)
    ),
    "vqa in passes": lambda model: VqaLoss(model, rows=2, contrast_group=2),
}


def batch_of(model: str, with_ids: bool = False) -> dict[str, np.ndarray]:
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
    if with_ids:
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
        return np.float64(leaf) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(wide, tree)


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


@pytest.mark.parametrize("case", CASES)
def test_a_step_in_parts_on_a_mesh_is_the_step(case, tiny):
    """On four devices, against the whole batch on one."""
    model = case.partition(" ")[0]
    with_ids = model == "retrieval" or case.endswith("with image ids")
    # Its moments are the gradients themselves; parameters would not show how they differ.
    optimizer = optax.sgd(1e-3, momentum=0.9)
    params = random_params(tiny.config, 3, model)
    queue_length = 2 * ROWS if model in ("pretrain", "retrieval") else 0
    batch = batch_of(model, with_ids)
    with jax.enable_x64(True):
        state = precise(state_of(params, optimizer, queue_length, with_ids=with_ids))
        abstract = jax.eval_shape(lambda: state)
        whole = StepConfig(
            loss=CASES[case](replace(tiny.config, dtype="float64")),
            optimizer=optimizer,
            learning_rate=lambda step: jnp.float32(1e-3),
            alpha=lambda step: jnp.float32(0.4),
        )

        def after(microbatches: int, devices: int):
            mesh = make_mesh(devices=jax.devices()[:devices])
            step = compile_step(replace(whole, microbatches=microbatches), mesh, abstract)
            fresh = state.replace(key=jax.random.key(2))  # the step donates its state
            placed = jax.device_put(fresh, state_shardings(mesh, abstract))
            return jax.device_get(step(placed, to_devices(mesh, batch)))

        (expected, metrics), (found, in_parts) = after(1, 1), after(parts_of(model), 4)
    assert metrics["skipped"] == 0
    assert metrics["grad_norm"] > 0
    assert metrics.keys() == in_parts.keys()
    if with_ids:
        assert metrics["pairs_without_negative"] == GROUP
    for name, value in metrics.items():
        assert in_parts[name] == pytest.approx(value, rel=TOLERANCE), name
    moments, same = (jax.tree.leaves(state.opt_state) for state in (found, expected))
    for ours, theirs in zip(moments, same, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale + 1e-17)
    if expected.queue is not None:
        np.testing.assert_allclose(found.queue.image, expected.queue.image, atol=TOLERANCE)
        assert found.queue.pointer == ROWS
