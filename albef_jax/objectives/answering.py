"""Question answering: the likelihood of weighted answers, with momentum distillation.

Shape letters: B questions, R answers a question, T answer tokens, S question tokens, V vocabulary,
D text width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.sizes import ModelConfig
from albef_jax.objectives.soft_targets import mixed_cross_entropy


def question_states(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B H W 3"],
    text_ids: Int[Array, "B S"],
    text_mask: Int[Array, "B S"],
    dropout_key: Array | None = None,
) -> Float[Array, "B S D"]:
    """Fused tokens of the questions, which the answer decoder attends to."""
    text_key, fusion_key = albef.split_key(dropout_key)
    image_embeds = albef.encode_image(config, params, image)
    text_embeds = albef.encode_text(config, params, text_ids, text_mask, text_key)
    fused = albef.fuse(
        config,
        params,
        text_embeds[:, None],
        text_mask[:, None],
        image_embeds,
        dropout_key=fusion_key,
    )
    return jnp.squeeze(fused, axis=1)


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
