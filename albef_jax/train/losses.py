"""The losses of the downstream tasks, as a fine-tuning step takes them."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from albef_jax.losses import retrieval, text_assignment
from albef_jax.losses.classification import distilled_loss
from albef_jax.losses.queue import enqueue
from albef_jax.losses.vqa import answer_losses, weighted_loss
from albef_jax.models.albef import Params, fuse_pairs, split_key
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import decode
from albef_jax.train.finetune import Known, Loss, Outcome

Logits = Callable[..., Float[Array, "B C"]]


def retrieval_loss(model: ModelConfig, contrast_group: int) -> Loss:
    """ITC and ITM as a step takes them; decisions are the hard negatives."""

    def loss(params: Params, known: Known) -> Outcome:
        batch, queue, random = known.batch, known.queue, known.random
        assert queue is not None
        assert queue.image_id is not None
        inputs = retrieval.Inputs(*(batch[name] for name in retrieval.Inputs._fields))
        teacher = retrieval.teacher_forward(model, known.teacher, inputs, random.teacher_dropout)
        student = retrieval.student_forward(
            model,
            contrast_group,
            params,
            inputs,
            teacher,
            retrieval.Keys(queue.image, queue.text, queue.image_id),
            random.decisions,
            random.student_dropout,
        )
        metrics = {**retrieval.losses(student, known.alpha), "temperature": params["temperature"]}
        queue = enqueue(queue, teacher.image_feat, teacher.text_feat, inputs.image_id)
        return Outcome(metrics, queue, {"student": student, "teacher": teacher})

    return loss


def classification_loss(model: ModelConfig, logits: Logits) -> Loss:
    """Cross-entropy with distillation, where there is a teacher, as a step takes it."""

    def loss(params: Params, known: Known) -> Outcome:
        batch = known.batch
        inputs = batch["image"], batch["text_ids"], batch["text_mask"]
        student = logits(model, params, *inputs, known.random.student_dropout)
        teacher = None
        if known.teacher:
            teacher = logits(model, known.teacher, *inputs, known.random.teacher_dropout)
        metrics = distilled_loss(student, batch["label"], teacher, known.alpha)
        return Outcome(metrics, inside={"student": student, "teacher": teacher})

    return loss


def assignment_loss(model: ModelConfig, contrast_group: int) -> Loss:
    """Text assignment as a step takes it; decisions are what each text is shown."""

    def loss(params: Params, known: Known) -> Outcome:
        batch = known.batch
        logits, assignment, similarities = text_assignment.forward(
            model,
            contrast_group,
            params,
            batch["image"],
            batch["text_ids"],
            batch["text_mask"],
            known.random.decisions,
            known.random.student_dropout,
        )
        metrics = distilled_loss(logits, assignment.label.reshape(-1), None, 0.0)
        inside = {"logits": logits, "assignment": assignment, "similarities": similarities}
        return Outcome(metrics, inside=inside)

    return loss


def vqa_loss(model: ModelConfig) -> Loss:
    """The weighted likelihood of answers, with distillation, as a step takes it."""

    def loss(params: Params, known: Known) -> Outcome:
        batch, random = known.batch, known.random

        def forward(params: Params, dropout_key: jax.Array | None):
            encoder_key, decoder_key = split_key(dropout_key)
            question = batch["text_ids"], batch["text_mask"]
            states = fuse_pairs(model, params, batch["image"], *question, encoder_key)
            answer = batch["answer_ids"], batch["answer_mask"]
            return states, decode(model, params, *answer, states, question[1], decoder_key)

        states, logits = forward(params, random.student_dropout)
        teacher = None
        if known.teacher:
            teacher = forward(known.teacher, random.teacher_dropout)[1]
        losses = answer_losses(
            logits, batch["answer_ids"], batch["answer_mask"], teacher, known.alpha
        )
        metrics = {"loss": weighted_loss(losses, batch["answer_weight"])}
        inside = {"states": states, "logits": logits, "teacher": teacher, "losses": losses}
        return Outcome(metrics, inside=inside)

    return loss
