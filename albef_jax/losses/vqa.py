"""Question answering: the likelihood of weighted answers, with momentum distillation.

Shape letters: B questions, R answers a question, T answer tokens, S question tokens, V vocabulary,
D text width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses.distillation import mixed_cross_entropy


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
