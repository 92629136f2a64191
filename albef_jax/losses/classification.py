"""Classification with momentum distillation: visual entailment and NLVR2 (paper section 5).

Shape letters: B texts, T text tokens, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses.base import Loss, LossInputs, LossOutput
from albef_jax.losses.distillation import mixed_cross_entropy
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig

Logits = Callable[..., Float[Array, "B C"]]


def distilled_loss(
    logits: Float[Array, "B C"],
    labels: Int[Array, " B"],
    teacher_logits: Float[Array, "B C"] | None,
    alpha: Float[Array, ""] | float,
) -> dict[str, Float[Array, ""]]:
    """Cross-entropy against labels and, with a teacher, its distribution."""
    hard = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    if teacher_logits is None:
        loss = jax.nn.logsumexp(logits, axis=1) - hard
    else:
        loss = mixed_cross_entropy([logits], hard, [teacher_logits], alpha)
    accuracy = jnp.mean(jnp.argmax(logits, axis=1) == labels)
    return {"loss": jnp.mean(loss), "accuracy": accuracy}


@dataclass(frozen=True)
class ClassificationLoss(Loss):
    """Cross-entropy on a batch of `image`, `text_ids`, `text_mask` and `label`.

    Attributes:
        logits: `(model, params, image, text_ids, text_mask, dropout_key)` to `[B, C]`.
    """

    model: ModelConfig
    logits: Logits

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """With distillation where there is a teacher."""
        batch, random = inputs.batch, inputs.random
        given = batch["image"], batch["text_ids"], batch["text_mask"]
        student = self.logits(self.model, params, *given, random.student_dropout)
        teacher = None
        if inputs.teacher:
            teacher = self.logits(self.model, inputs.teacher, *given, random.teacher_dropout)
        metrics = distilled_loss(student, batch["label"], teacher, inputs.alpha)
        return LossOutput(metrics, aux={"student": student, "teacher": teacher})
