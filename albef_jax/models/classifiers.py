"""Heads on the fused class token, and what they say: visual entailment, NLVR2, text assignment.

Paper section 5. Shape letters: B texts, T text tokens, D text width, C classes.
"""

import jax
from jaxtyping import Array, Float, Int

from albef_jax.models import albef
from albef_jax.models.albef import Images, Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.two_image_fusion import fuse_pair


def _apply(layer: Params, x: Float[Array, "B D"]) -> Float[Array, "B C"]:
    return x @ layer["kernel"] + layer["bias"]


def class_logits(params: Params, fused_cls: Float[Array, "B D"]) -> Float[Array, "B C"]:
    """An MLP with one ReLU layer on the fused class token (paper section 5, VE and NLVR2)."""
    head = params["cls_head"]
    return _apply(head["out"], jax.nn.relu(_apply(head["hidden"], fused_cls)))


def assignment_logits(params: Params, fused_cls: Float[Array, "B D"]) -> Float[Array, "B C"]:
    """Whether a text belongs to the first image, the second, or neither."""
    return _apply(params["ta_head"], fused_cls)


def entailment_logits(
    config: ModelConfig,
    params: Params,
    image: Images,
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
) -> Float[Array, "B C"]:
    """What a sentence has to do with an image: contradiction, neutral, entailment."""
    fused = albef.fuse_pairs(
        config, params, image, text_ids, text_mask, dropout_key, class_only=True
    )
    return class_logits(params, fused)


def nlvr_logits(
    config: ModelConfig,
    params: Params,
    image: Images,
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
) -> Float[Array, "B C"]:
    """Whether a sentence is true of a left and a right image, `[B, 2, H, W, 3]`."""
    text_key, fusion_key = albef.split_key(dropout_key)
    singly = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), image)
    embeds = albef.encode_image(config, params, singly)
    embeds = embeds.reshape(-1, 2, *embeds.shape[1:])
    text_embeds = albef.encode_text(config, params, text_ids, text_mask, text_key)
    fused = fuse_pair(
        config, params, text_embeds, text_mask, embeds[:, 0], embeds[:, 1], fusion_key
    )
    return class_logits(params, fused[:, 0])
