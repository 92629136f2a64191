"""Classification with momentum distillation: visual entailment and NLVR2 (paper section 5).

Shape letters: B texts, T text tokens, C classes, D text width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses.distillation import mixed_cross_entropy
from albef_jax.models import albef, task_models
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.two_image_fusion import fuse_pair


def entailment_logits(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B H W 3"],
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
) -> Float[Array, "B C"]:
    """What a sentence has to do with an image: contradiction, neutral, entailment."""
    fused = albef.fuse_pairs(
        config, params, image, text_ids, text_mask, dropout_key, class_only=True
    )
    return task_models.class_logits(params, fused)


def nlvr_logits(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B 2 H W 3"],
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
) -> Float[Array, "B C"]:
    """Whether a sentence is true of a left and a right image."""
    text_key, fusion_key = albef.split_key(dropout_key)
    embeds = albef.encode_image(config, params, image.reshape(-1, *image.shape[2:]))
    embeds = embeds.reshape(-1, 2, *embeds.shape[1:])
    text_embeds = albef.encode_text(config, params, text_ids, text_mask, text_key)
    fused = fuse_pair(
        config, params, text_embeds, text_mask, embeds[:, 0], embeds[:, 1], fusion_key
    )
    return task_models.class_logits(params, fused[:, 0])


def distilled_loss(
    logits: Float[Array, "B C"],
    labels: Int[Array, " B"],
    teacher_logits: Float[Array, "B C"] | None,
    alpha: Float[Array, ""] | float,
) -> dict[str, Float[Array, ""]]:
    """Cross-entropy against labels and, where there is a teacher, its distribution."""
    hard = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    if teacher_logits is None:
        loss = jax.nn.logsumexp(logits, axis=1) - hard
    else:
        loss = mixed_cross_entropy([logits], hard, [teacher_logits], alpha)
    accuracy = jnp.mean(jnp.argmax(logits, axis=1) == labels)
    return {"loss": jnp.mean(loss), "accuracy": accuracy}
