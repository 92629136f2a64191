"""Fusion with two images: every fusion layer doubled (paper section 5, NLVR2).

The first layer of a pair reads the left image, the second the right one; both use the same
projections to keys and values.
Shape letters: B texts, T text tokens, N image tokens, D text width, E image width, P pairs.
"""

from typing import cast

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from albef_jax.models import attention
from albef_jax.models.albef import Params, rngs
from albef_jax.models.bert import FusionLayer, linear
from albef_jax.models.config import ModelConfig
from albef_jax.models.scan import stack


class PairLayer(nn.Module):
    """Two fusion layers, one an image, that share cross-attention keys and values."""

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B 1 T D"],
        bias: Array,
        left: Float[Array, "B N E"],
        right: Float[Array, "B N E"],
    ) -> Float[Array, "B 1 T D"]:
        """Read the left image, then the right one; `bias` as in `FusionLayer`."""
        cfg = self.config
        shared = linear(cfg, cfg.text_width, "key"), linear(cfg, cfg.text_width, "value")
        for name, image_embeds in (("first", left), ("second", right)):
            layer = FusionLayer(cfg, self.deterministic, shared, name=name)
            x = layer(x, bias, image_embeds, None, None)
        return x


class PairEncoder(nn.Module):
    """`fusion_depth` pairs of fusion layers."""

    config: ModelConfig
    deterministic: bool = True

    @nn.compact
    def __call__(
        self,
        text_embeds: Float[Array, "B 1 T D"],
        bias: Array,
        left: Float[Array, "B N E"],
        right: Float[Array, "B N E"],
    ) -> Float[Array, "B 1 T D"]:
        """Fuse texts with two images each."""
        cfg = self.config
        layers = stack(PairLayer, cfg, cfg.fusion_depth, cfg.remat_fusion, inputs=3)
        return layers(cfg, self.deterministic, name="layers")(text_embeds, bias, left, right)[0]


def fuse_pair(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B T D"],
    text_mask: Int[Array, "B T"],
    left: Float[Array, "B N E"],
    right: Float[Array, "B N E"],
    dropout_key: Array | None = None,
) -> Float[Array, "B T D"]:
    """Fused tokens of texts with their left and right images."""
    module = PairEncoder(config, dropout_key is None)
    bias = attention.self_bias(text_mask, causal=False)
    variables = {"params": params["pair_encoder"]}
    x = module.apply(variables, text_embeds[:, None], bias, left, right, rngs=rngs(dropout_key))
    return jnp.squeeze(cast(Array, x), axis=1)


def init_pair_encoder(config: ModelConfig, key: Array) -> Params:
    """Fresh parameters of `PairEncoder`."""
    width, length = config.text_width, 4
    hidden, bias = jnp.zeros((1, 1, length, width)), jnp.zeros((1, 1, 1, length))
    image_embeds = jnp.zeros((1, config.image_tokens, config.encoder_width))
    return PairEncoder(config).init(key, hidden, bias, image_embeds, image_embeds)["params"]
