"""Heat maps of texts: attention times its positive gradient (paper section 5).

The gradient with respect to attention probabilities is that with respect to zeros added to them.
Shape letters: B pairs, T text tokens, N image tokens (class token first), H heads, h patches a
side, L layers.
"""

import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.models import albef, attention
from albef_jax.models.albef import Params
from albef_jax.models.bert import FusionLayer
from albef_jax.models.config import ModelConfig
from albef_jax.models.vit import ImageEncoder, ViTBlock


def _layer(stacked: Params, number: int) -> Params:
    return {"params": jax.tree.map(lambda leaf: leaf[number], stacked)}


def _probed(layer: Any, params: Params, *inputs: Any, probe: Array) -> tuple[Array, Array]:
    """A layer's output and its attention probabilities."""
    output, kept = layer.apply(params, *inputs, probe=probe, mutable=["intermediates"])
    (probabilities,) = jax.tree.leaves(kept)
    return cast(Array, output), probabilities


def _check(name: str, number: int, first: int, count: int) -> None:
    """Raise `ValueError` for a layer that does not exist, whose heat map would be all zero."""
    if not first <= number < first + count:
        raise ValueError(f"{name}={number}: must be {first} to {first + count - 1} in this model")


def fusion_attention(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B H W 3"],
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    layer: int,
) -> tuple[Float[Array, "B H T N"], Float[Array, "B H T N"], Float[Array, "B 2"]]:
    """Cross-attention of a fusion layer, the gradient of the match logit with respect to it, and
    the match logits.

    Args:
        layer: counted over all BERT layers, as in the official code (8 of 12).

    Raises:
        ValueError: no fusion layer has this number.
    """
    _check("layer", layer, config.text_depth, config.fusion_depth)
    image_embeds = albef.encode_image(config, params, image)
    text_embeds = albef.encode_text(config, params, text_ids, text_mask)[:, None]
    bias = attention.self_bias(text_mask, causal=False)
    stacked = params["fusion_encoder"]["layers"]
    module = FusionLayer(config, deterministic=True)
    shape = (len(image), config.text_heads, text_ids.shape[1], image_embeds.shape[1])

    def match(probe: Array):
        x, probabilities = text_embeds, jnp.zeros(())
        for number in range(config.fusion_depth):
            one = _layer(stacked, number)
            inputs = x, bias, image_embeds, None, None
            if number == layer - config.text_depth:
                x, probabilities = _probed(module, one, *inputs, probe=probe)
            else:
                x = module.apply(one, *inputs)
        logits = albef.itm_logits(params, x[:, 0, 0])
        return jnp.sum(logits[:, 1]), (probabilities, logits)

    gradient, (probabilities, logits) = jax.grad(match, has_aux=True)(jnp.zeros(shape))
    return probabilities, gradient, logits


def match_maps(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B H W 3"],
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    layer: int,
) -> tuple[Float[Array, "B T h h"], Float[Array, "B 2"]]:
    """The heat map of each token, and the match logits; arguments as for `fusion_attention`."""
    attention, gradient, logits = fusion_attention(
        config, params, image, text_ids, text_mask, layer=layer
    )
    return word_maps(attention, gradient, text_mask), logits


def image_attention(
    config: ModelConfig,
    params: Params,
    image: Float[Array, "B H W 3"],
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    block: int,
) -> tuple[Float[Array, "B H N"], Float[Array, "B H N"]]:
    """Self-attention of the class token in a ViT block, and the gradient of the contrastive
    similarity of each pair with respect to it; raises `ValueError` for a block that is not there.
    """
    _check("block", block, 0, config.image_depth)
    text_embeds = albef.encode_text(config, params, text_ids, text_mask)
    pooled = albef.pooled_tokens(config, text_mask)
    text_feat = albef.text_feature(params, text_embeds, pooled)
    stacked = params["image_encoder"]["blocks"]
    encoder = ImageEncoder(config).bind({"params": params["image_encoder"]})
    tokens = config.image_tokens
    module = ViTBlock(config)

    def similarity(probe: Array):
        x, probabilities = encoder.tokens(encoder.patches(image)), jnp.zeros(())
        for number in range(config.image_depth):
            one = _layer(stacked, number)
            if number == block:
                x, probabilities = _probed(module, one, x, probe=probe)
            else:
                x = cast(Array, module.apply(one, x))
        image_feat = albef.image_feature(params, encoder.final_norm(x))
        total = jnp.sum(image_feat * text_feat) / params["temperature"]
        return total, probabilities

    shape = (len(image), config.image_heads, tokens, tokens)
    gradient, probabilities = jax.grad(similarity, has_aux=True)(jnp.zeros(shape))
    return probabilities[:, :, 0], gradient[:, :, 0]


def _to_patches(weights: Float[Array, "... N"]) -> Float[Array, "... h h"]:
    """Without the class token, as an image."""
    side = math.isqrt(weights.shape[-1] - 1)
    return weights[..., 1:].reshape(*weights.shape[:-1], side, side)


def word_maps(
    probabilities: Float[Array, "B H T N"],
    gradient: Float[Array, "B H T N"],
    text_mask: Int[Array, "B T"],
) -> Float[Array, "B T h h"]:
    """One heat map a token, mean over heads; zero at padding."""
    weights = jnp.mean(probabilities * jnp.maximum(gradient, 0), axis=1)
    return _to_patches(weights * text_mask[..., None])


def text_map(words: Float[Array, "B T h h"]) -> Float[Array, "B h h"]:
    """The heat map of a whole text: the mean over all positions, padding counted (LEDGER)."""
    return jnp.mean(words, axis=1)


def image_map(
    probabilities: Float[Array, "B H N"], gradient: Float[Array, "B H N"]
) -> Float[Array, "B h h"]:
    """The heat map of the contrastive branch, mean over heads."""
    return _to_patches(jnp.mean(probabilities * jnp.maximum(gradient, 0), axis=1))
