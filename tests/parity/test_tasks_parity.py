"""Steps of the downstream tasks against recorded ones: losses, gradients, queue, teacher."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.checkpoints.official import state_dict
from albef_jax.losses.base import Random
from albef_jax.losses.classification import ClassificationLoss
from albef_jax.losses.matching import Negatives
from albef_jax.losses.queue import Queue
from albef_jax.losses.retrieval import RetrievalLoss
from albef_jax.losses.text_assignment import Assignment, TextAssignmentLoss
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models.classifiers import entailment_logits, nlvr_logits
from albef_jax.models.frozen import Frozen, completed
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState
from albef_jax.train.step import StepConfig, update
from tests.helpers.golden_set import GoldenSet, nhwc

LOSSES, ACTIVATIONS, GRADIENTS, KEPT = 1e-5, 1e-4, 1e-3, 1e-5
VARIANTS = ("alpha04", "nodistill")


class Replayed(NamedTuple):
    """One recorded step, done again."""

    where: str
    task: str
    recorded: dict
    norms: dict
    before: TrainState
    state: TrainState
    metrics: dict
    inside: object
    grads: dict


def text(recorded, name="text"):
    return {
        "text_ids": recorded[f"{name}_ids"].astype(np.int32),
        "text_mask": recorded[f"{name}_mask"].astype(np.int32),
    }


def queue_of(recorded, when) -> Queue:
    return Queue(
        jnp.asarray(recorded[f"image_queue_{when}"].T),
        jnp.asarray(recorded[f"text_queue_{when}"].T),
        jnp.int32(recorded[f"queue_ptr_{when}"][0]),
        jnp.asarray(recorded[f"idx_queue_{when}"][0], jnp.int32),
    )


def replay(golden: GoldenSet, file, task, variant, loss, batch, decisions=None, frozen=()):
    where = f"{file}_{variant}" if variant else file
    recorded, norms = golden.arrays(where), golden.json(f"{file}_norms")
    official = golden.task(file, task)
    params, teacher = jax.tree.map(jnp.asarray, (official.params, official.teacher))
    queued = "image_queue_before" in recorded
    if variant == "nodistill" and not queued:
        teacher = {}
    # How Adam moves parameters is not recorded here; what it leaves alone is.
    optimizer = adamw(lambda step: 1e-4, 0.02) if frozen else optax.sgd(1e-4)
    still = Frozen(frozen)
    before = TrainState(
        jnp.int32(0),
        params,
        teacher,
        optimizer.init(still.trained(params)),
        queue_of(recorded, "before") if queued else None,
        jax.random.key(0),
    )
    alpha = 0.0 if variant == "nodistill" else recorded.get("alpha", 0.0)

    @jax.jit
    def step(before, alpha, batch, random):
        """With `alpha` an argument, the variants of a task with a queue are one program."""
        momentum = golden.sizes["momentum"]
        config = StepConfig(
            loss, optimizer, lambda _: 1e-4, lambda _: alpha, momentum, frozen=still
        )
        return update(config, before, batch, random)

    random = Random(decisions(recorded) if decisions else None)
    state, metrics, looked = step(before, np.float32(alpha), batch(recorded), random)
    norms = norms[variant] if variant else norms
    return Replayed(
        where, task, recorded, norms, before, state, metrics, looked["aux"], looked["grads"]
    )


@pytest.fixture(scope="module", params=VARIANTS)
def retrieved(golden, request):
    def batch(recorded):
        ids = recorded["idx"].astype(np.int32)
        return {"image": nhwc(recorded["image"]), **text(recorded), "image_id": ids}

    def decisions(recorded):
        image, other = (recorded[f"neg_{side}_idx"].astype(np.int32) for side in ("image", "text"))
        return Negatives(image[None], other[None], jnp.ones((1, len(image)), bool))

    loss = RetrievalLoss(golden.config, golden.sizes["batch"])
    return replay(golden, "retrieval", "retrieval", request.param, loss, batch, decisions)


CLASSIFIED = [(task, variant) for task in ("entailment", "nlvr") for variant in VARIANTS]


@pytest.fixture(scope="module", params=CLASSIFIED, ids="-".join)
def classified(golden, request):
    task, variant = request.param

    def batch(recorded):
        image = nhwc(recorded["image"])
        if task == "nlvr":
            image = np.stack(np.split(image, 2), axis=1)
        return {"image": image, **text(recorded), "label": recorded["targets"].astype(np.int32)}

    file, logits = {"entailment": ("ve", entailment_logits), "nlvr": ("nlvr", nlvr_logits)}[task]
    loss = ClassificationLoss(golden.config, logits)
    return replay(golden, file, task, variant, loss, batch)


@pytest.fixture(scope="module")
def assigned(golden):
    def batch(recorded):
        return {"image": nhwc(recorded["image"]), **text(recorded)}

    def decisions(recorded):
        shown = (recorded[name] for name in ("first_image_idx", "second_image_idx", "labels"))
        return Assignment(*(array.astype(np.int32)[None] for array in shown))

    return replay(
        golden,
        "pretrain_nlvr",
        "nlvr_pretrain",
        "",
        TextAssignmentLoss(golden.config, golden.sizes["batch"]),
        batch,
        decisions,
        ("image_proj", "text_proj", "temperature"),
    )


def rows_of_answers(recorded):
    """Answers as recorded, one after another, to padded rows a question; and where each went."""
    counts = recorded["answers_per_question"]
    question = np.repeat(np.arange(len(counts)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    return question, row, (len(counts), int(counts.max()))


def with_answers(recorded):
    question, row, shape = rows_of_answers(recorded)
    ids = np.zeros((*shape, recorded["answer_ids"].shape[1]), np.int32)
    mask, weight = np.zeros_like(ids), np.zeros(shape, np.float32)
    mask[:, :, 0] = 1
    ids[question, row] = recorded["answer_ids"]
    mask[question, row] = recorded["answer_mask"]
    weight[question, row] = recorded["weights"]
    return {
        "image": nhwc(recorded["image"]),
        **text(recorded, "question"),
        "answer_ids": ids,
        "answer_mask": mask,
        "answer_weight": weight,
    }


@pytest.fixture(scope="module", params=VARIANTS)
def answered(golden, request):
    return replay(golden, "vqa", "vqa", request.param, VqaLoss(golden.config), with_answers)


@pytest.fixture(scope="module")
def answered_in_passes(golden):
    """Answers side by side, as in training; without a teacher: `tests/losses/test_answer_rows`."""
    loss = VqaLoss(golden.config, rows=3, contrast_group=2)
    return replay(golden, "vqa", "vqa", "alpha04", loss, with_answers)


def compare_gradients(compare, replayed):
    nothing = jax.tree.map(np.zeros_like, replayed.before.params)
    whole = completed(replayed.grads, nothing)
    ours = state_dict.to_official_params(whole, task=replayed.task)
    norms = replayed.norms["grad_l2_norm"]
    assert norms.keys() <= ours.keys()
    for parameter, theirs in norms.items():
        if not parameter.endswith("self.key.bias"):
            norm = np.linalg.norm(np.asarray(ours[parameter], np.float64))
            where = f"{replayed.where} {parameter}"
            compare.add(f"{replayed.task} gradient norm", norm, theirs, GRADIENTS, where)
    for key, theirs in replayed.recorded.items():
        if key.startswith("grad/"):
            parameter = key.removeprefix("grad/")
            where = f"{replayed.where} {parameter}"
            compare.add(f"{replayed.task} gradient", ours[parameter], theirs, GRADIENTS, where)


def compare_teacher(compare, replayed, queues=None):
    if not replayed.state.teacher:
        assert "momentum_l2_norm_after" not in replayed.norms
        return
    state = replayed.state
    official = state_dict.to_official(state.params, state.teacher, queues or {}, task=replayed.task)
    for key, theirs in replayed.recorded.items():
        if key.startswith("momentum_after/"):
            parameter = key.removeprefix("momentum_after/")
            where = f"{replayed.where} {parameter}"
            compare.add(f"{replayed.task} teacher after", official[parameter], theirs, KEPT, where)
    for parameter, theirs in replayed.norms["momentum_l2_norm_after"].items():
        norm = np.linalg.norm(official[parameter].astype(np.float64))
        where = f"{replayed.where} {parameter}"
        compare.add(f"{replayed.task} teacher norm after", norm, theirs, KEPT, where)


def test_retrieval(retrieved, compare):
    name, recorded = retrieved.where, retrieved.recorded
    compare.add(
        "retrieval loss_itc", retrieved.metrics["loss_itc"], recorded["loss_ita"], LOSSES, name
    )
    compare.add(
        "retrieval loss_itm", retrieved.metrics["loss_itm"], recorded["loss_itm"], LOSSES, name
    )
    student, teacher = retrieved.inside["student"], retrieved.inside["teacher"]
    ours = {
        "image_feat": student.image_feat,
        "text_feat": student.text_feat,
        "image_feat_m": teacher.image_feat,
        "text_feat_m": teacher.text_feat,
        "itm_logits": jnp.concatenate(list(jnp.moveaxis(student.itm_logits, 1, 0))),
    }
    for way, both in (
        ("i2t", student.alignment.contrast.image_to_text),
        ("t2i", student.alignment.contrast.text_to_image),
    ):
        ours[f"sim_{way}"] = jnp.concatenate([both.group[0], both.queue[0]], axis=1)
    for quantity, value in ours.items():
        compare.add(f"retrieval {quantity}", value, recorded[quantity], ACTIVATIONS, name)
    same = jnp.concatenate(
        [student.alignment.positives.group[0], student.alignment.positives.queue[0]], axis=1
    )
    shares = same / jnp.sum(same, axis=1, keepdims=True)
    compare.add("retrieval hard targets", shares, recorded["hard_targets"], KEPT, name)
    weights = jax.nn.softmax(student.alignment.contrast.text_to_image.group[0])
    weights = jnp.where(student.alignment.positives.group[0], 0, weights)
    compare.add("retrieval negatives", weights, recorded["neg_image_weights"], ACTIVATIONS, name)


def test_retrieval_gradients_queue_and_teacher(retrieved, compare):
    compare_gradients(compare, retrieved)
    queue, after = retrieved.state.queue, queue_of(retrieved.recorded, "after")
    for name in ("image", "text"):
        compare.add(
            f"retrieval {name}_queue",
            getattr(queue, name),
            getattr(after, name),
            KEPT,
            retrieved.where,
        )
    compare.add("retrieval idx_queue", queue.image_id, after.image_id, 0, retrieved.where)
    compare.add("retrieval queue_ptr", queue.pointer, after.pointer, 0, retrieved.where)
    queues = queue.arrays()
    compare_teacher(compare, retrieved, queues)


def test_classification(classified, compare):
    replayed = classified
    name, recorded, task = replayed.where, replayed.recorded, replayed.task
    compare.add(f"{task} loss", replayed.metrics["loss"], recorded["loss"], LOSSES, name)
    student, teacher = replayed.inside["student"], replayed.inside["teacher"]
    compare.add(f"{task} logits", student, recorded["prediction"], ACTIVATIONS, name)
    assert (teacher is None) == name.endswith("nodistill")
    if teacher is not None:
        compare.add(f"{task} teacher logits", teacher, recorded["prediction_m"], ACTIVATIONS, name)
        compare.add(f"{task} eval logits", student, recorded["eval_logits"], ACTIVATIONS, name)


def test_classification_gradients_and_teacher(classified, compare):
    compare_gradients(compare, classified)
    compare_teacher(compare, classified)


def test_vqa_gradients_and_teacher(answered, compare):
    compare_gradients(compare, answered)
    compare_teacher(compare, answered)


def test_vqa_in_passes(answered_in_passes, compare):
    name, recorded = answered_in_passes.where, answered_in_passes.recorded
    assert recorded["answers_per_question"].reshape(-1, 2).sum(axis=1).max() > 3
    compare.add("vqa loss", answered_in_passes.metrics["loss"], recorded["loss"], LOSSES, name)
    compare_gradients(compare, answered_in_passes)


def test_text_assignment(golden, assigned, compare):
    name, recorded = assigned.where, assigned.recorded
    compare.add("nlvr_pretrain loss", assigned.metrics["loss"], recorded["loss"], LOSSES, name)
    compare.add(
        "nlvr_pretrain logits", assigned.inside["logits"], recorded["logits"], ACTIVATIONS, name
    )
    similarities = assigned.inside["similarities"][0]
    compare.add(
        "nlvr_pretrain similarities", similarities, recorded["image_sim_logits"], ACTIVATIONS, name
    )
    compare_gradients(compare, assigned)


def test_text_assignment_never_touches_what_has_no_gradient(golden, assigned):
    before = state_dict.to_official_params(assigned.before.params, task="nlvr_pretrain")
    after = state_dict.to_official_params(assigned.state.params, task="nlvr_pretrain")
    frozen = set(assigned.norms["no_gradient"])
    assert len(frozen) == 5
    for parameter, array in before.items():
        moved = not np.array_equal(array, after[parameter])
        assert moved != (parameter in frozen), parameter


def test_vqa(answered, compare):
    name, recorded = answered.where, answered.recorded
    question, row, _ = rows_of_answers(recorded)
    compare.add("vqa loss", answered.metrics["loss"], recorded["loss"], LOSSES, name)
    compare.add(
        "vqa states", answered.inside["states"], recorded["question_states"], ACTIVATIONS, name
    )
    logits = answered.inside["logits"][question, row]
    compare.add("vqa logits", logits, recorded["decoder_logits"], ACTIVATIONS, name)
    losses = answered.inside["losses"][question, row]
    compare.add("vqa loss of an answer", losses, recorded["loss_per_answer"], LOSSES, name)
    if "soft_labels" in recorded:
        soft = jax.nn.softmax(answered.inside["teacher"][question, row, :-1])
        compare.add("vqa soft labels", soft, recorded["soft_labels"], ACTIVATIONS, name)
