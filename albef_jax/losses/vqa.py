"""Question answering: the likelihood of weighted answers, with momentum distillation.

Shape letters: B questions, R answers a question, T answer tokens, S question tokens, V vocabulary,
D text width.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.losses.distillation import mixed_cross_entropy
from albef_jax.models.albef import Params, fuse_pairs, split_key
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import decode


def answer_losses(
    logits: Float[Array, "B R T V"],
    answer_ids: Int[Array, "B R T"],
    answer_mask: Int[Array, "B R T"],
    teacher_logits: Float[Array, "B R T V"] | None,
    alpha: Float[Array, ""] | float,
) -> Float[Array, "B R"]:
    """Sum over an answer's tokens of the cross-entropy of the next one; padding does not count."""
    logits, labels, counts = logits[..., :-1, :], answer_ids[..., 1:], answer_mask[..., 1:]
    hard = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    if teacher_logits is None:
        losses = jax.nn.logsumexp(logits, axis=-1) - hard
    else:
        losses = mixed_cross_entropy([logits], hard, [teacher_logits[..., :-1, :]], alpha)
    return jnp.sum(losses * counts, axis=-1)


def weighted_loss(losses: Float[Array, "B R"], weights: Float[Array, "B R"]) -> Float[Array, ""]:
    """Each answer by its weight, over the number of questions; weight 0 is padding."""
    return jnp.sum(losses * weights) / len(weights)


@dataclass(frozen=True)
class VqaLoss(Loss):
    """The likelihood of answers on a batch of `image`, `text_*` and `answer_*`."""

    model: ModelConfig

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """With distillation where there is a teacher."""
        batch, random = inputs.batch, inputs.random
        states, logits = self._forward(params, batch, random.student_dropout)
        teacher = None
        if inputs.teacher:
            teacher = self._forward(inputs.teacher, batch, random.teacher_dropout)[1]
        losses = answer_losses(
            logits, batch["answer_ids"], batch["answer_mask"], teacher, inputs.alpha
        )
        metrics = {"loss": weighted_loss(losses, batch["answer_weight"])}
        aux = {"states": states, "logits": logits, "teacher": teacher, "losses": losses}
        return LossOutput(metrics, aux=aux)

    def _forward(
        self, params: Params, batch: Batch, dropout_key: Array | None
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B R T V"]]:
        """The questions' fused tokens, and logits of the answers' tokens."""
        encoder_key, decoder_key = split_key(dropout_key)
        question = batch["text_ids"], batch["text_mask"]
        states = fuse_pairs(self.model, params, batch["image"], *question, encoder_key)
        answer = batch["answer_ids"], batch["answer_mask"]
        return states, decode(self.model, params, *answer, states, question[1], decoder_key)
