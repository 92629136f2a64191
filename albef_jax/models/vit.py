"""The image encoder: a pre-norm Vision Transformer with a class token (paper section 3.1).

Exact erf GELU, LayerNorm epsilon 1e-6, a final norm, no dropout (LEDGER, encoders).
Shape letters: B batch, N image tokens, D image width, L layers.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from albef_jax.models.attention import attend, attention_probabilities, image_attention, split_heads
from albef_jax.models.config import ModelConfig
from albef_jax.models.linear import (
    Linear,
    add_parameter,
    gelu_linear,
    split_linear,
)
from albef_jax.models.patch_embedding import ConvolutionalStem, patch_embedding
from albef_jax.models.position_embedding import sincos_positions
from albef_jax.models.primitives import initial, wide
from albef_jax.models.scan import stack

EPSILON = 1e-6


class ViTBlock(nn.Module):
    """Attention and MLP, each behind a norm and inside a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N D"], probe: Float[Array, "B H N N"] | None = None
    ) -> Float[Array, "B N D"]:
        """Apply the block; `probe` as in `bert.CrossAttention`."""
        cfg = self.config

        def linear(width: int, name: str, gains: tuple[float, ...] = (1.0,)) -> Linear:
            return Linear(width, cfg.image_width, cfg.dtype, cfg.reduce_dtype, gains, name=name)

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=EPSILON, dtype=wide(cfg.dtype), name=name)

        gains = (cfg.image_attention_gain, cfg.image_attention_gain, 1.0)
        qkv = split_linear(linear(3 * cfg.image_width, "qkv", gains), norm("norm1")(x), 3)
        query, key, value = (split_heads(part, cfg.image_heads) for part in qkv)
        if probe is None:
            tokens = min(x.shape[1], cfg.image_tokens)
            attended = image_attention(query, key, value, cfg.attention, tokens)
        else:
            probabilities = attention_probabilities(query, key, None)
            self.sow("intermediates", "probabilities", probabilities)
            attended = attend(probabilities + probe, value)
        x = x + linear(cfg.image_width, "proj")(attended.reshape(x.shape))
        hidden = gelu_linear(linear(4 * cfg.image_width, "fc1"), norm("norm2")(x))
        return x + linear(cfg.image_width, "fc2")(hidden)


class ImageEncoder(nn.Module):
    """Patches and a class token through `image_depth` blocks.

    With `collect`, also returns the patch embedding and every block's output.
    """

    config: ModelConfig
    collect: bool = False

    def setup(self):
        """Parts in the order of the forward pass."""
        cfg = self.config
        self.stem = ConvolutionalStem(cfg) if cfg.image_stem == "convolutions" else None
        self.patch_embed = patch_embedding(cfg)
        self.cls_token = self.param("cls_token", initial(cfg.image_width), (1, 1, cfg.image_width))
        random = initial(cfg.image_width)
        positions = sincos_positions if cfg.image_positions == "sincos" else random
        self.pos_embed = self.param("pos_embed", positions, (1, cfg.image_tokens, cfg.image_width))
        self.blocks = stack(ViTBlock, cfg, cfg.image_depth, cfg.remat_image, self.collect)(cfg)
        self.norm = nn.LayerNorm(epsilon=EPSILON, dtype=wide(cfg.dtype))

    def __call__(self, image: Float[Array, "B H W 3"]):
        """Encode normalised images.

        Returns:
            `image_embeds [B, N, D]`, the class token first; with `collect` also a dict of
            `patch_embed [B, N-1, D]` and `blocks [L, B, N, D]`.
        """
        patches = self.patches(image)
        tokens = self.tokens(patches)
        number = tokens.shape[1]
        x, blocks = self.blocks(self.padded(tokens))
        x = self.final_norm(x[:, :number])
        blocks = blocks[:, :, :number] if self.collect else None
        return (x, {"patch_embed": patches, "blocks": blocks}) if self.collect else x

    def before_norm(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B N D"]:
        """What the last block makes of normalised images."""
        tokens = self.tokens(self.patches(image))
        return self.blocks(self.padded(tokens))[0][:, : tokens.shape[1]]

    def from_tokens(self, tokens: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        """Blocks and norm alone."""
        return self.final_norm(self.blocks(self.padded(tokens))[0][:, : tokens.shape[1]])

    def padded(self, tokens: Float[Array, "B N D"]) -> Float[Array, "B M D"]:
        """As many tokens as attention likes: padded once, instead of in every block."""
        if self.config.attention != "cudnn":
            return tokens
        return jnp.pad(tokens, ((0, 0), (0, tokens.shape[1] % 2), (0, 0)))

    def patches(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B N-1 D"]:
        """Embed the patches in selection order."""
        x = image if self.stem is None else self.stem(image)
        return self.patch_embed(x).reshape(image.shape[0], -1, self.config.image_width)

    def tokens(self, patches: Float[Array, "B N-1 D"]) -> Float[Array, "B N D"]:
        """What the first block reads: class token and patches, with their positions."""
        nothing = jnp.zeros((patches.shape[0], *self.cls_token.shape[1:]), patches.dtype)
        cls_tokens = add_parameter(nothing, self.cls_token)
        x = jnp.concatenate([cls_tokens, patches], axis=1)
        return add_parameter(x, self.pos_embed)

    def final_norm(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        """The norm after the last block."""
        return self.norm(x).astype(x.dtype)
