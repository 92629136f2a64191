"""The image encoder: a pre-norm Vision Transformer with a class token (paper section 3.1).

Exact erf GELU, LayerNorm epsilon 1e-6, a final norm, no dropout (LEDGER, encoders).
Shape letters: B batch, N image tokens, D image width, L layers.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from albef_jax.models.attention import image_attention, split_heads
from albef_jax.models.initial import initial
from albef_jax.models.sizes import ModelConfig
from albef_jax.models.stack import stack

EPSILON = 1e-6


class ViTBlock(nn.Module):
    """Attention and MLP, each behind a norm and inside a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        """Apply the block."""
        cfg = self.config

        def dense(width: int, name: str) -> nn.Dense:
            return nn.Dense(
                width, dtype=jnp.dtype(cfg.dtype), kernel_init=initial(cfg.image_width), name=name
            )

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=EPSILON, dtype=jnp.float32, name=name)

        qkv = dense(3 * cfg.image_width, "qkv")(norm("norm1")(x))
        query, key, value = (split_heads(t, cfg.image_heads) for t in jnp.split(qkv, 3, axis=-1))
        attended = image_attention(query, key, value, cfg.attention).reshape(x.shape)
        x = x + dense(cfg.image_width, "proj")(attended)
        hidden = nn.gelu(dense(4 * cfg.image_width, "fc1")(norm("norm2")(x)), approximate=False)
        return x + dense(cfg.image_width, "fc2")(hidden)


class ImageEncoder(nn.Module):
    """Patches and a class token through `image_depth` blocks.

    With `collect`, also returns the patch embedding and every block's output.
    """

    config: ModelConfig
    collect: bool = False

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"]):
        """Encode normalised pictures.

        Returns:
            `image_embeds [B, N, D]`, the class token first; with `collect` also a dict of
            `patch_embed [B, N-1, D]` and `blocks [L, B, N, D]`.
        """
        cfg = self.config
        patches = self.patches(image)
        cls_token = self.param("cls_token", initial(cfg.image_width), (1, 1, cfg.image_width))
        pos_embed = self.param(
            "pos_embed", initial(cfg.image_width), (1, cfg.image_tokens, cfg.image_width)
        )
        cls_tokens = jnp.broadcast_to(cls_token, (image.shape[0], 1, cfg.image_width))
        x = jnp.concatenate([cls_tokens.astype(patches.dtype), patches], axis=1)
        x = x + pos_embed.astype(x.dtype)
        x, blocks = stack(ViTBlock, cfg, cfg.image_depth, self.collect)(cfg, name="blocks")(x)
        x = nn.LayerNorm(epsilon=EPSILON, dtype=jnp.float32, name="norm")(x).astype(x.dtype)
        return (x, {"patch_embed": patches, "blocks": blocks}) if self.collect else x

    def patches(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B N-1 D"]:
        """Embed the patches in reading order."""
        cfg = self.config
        size = (cfg.patch_size, cfg.patch_size)
        convolution = nn.Conv(
            cfg.image_width,
            size,
            strides=size,
            padding="VALID",
            dtype=jnp.dtype(cfg.dtype),
            kernel_init=initial(cfg.image_width),
            name="patch_embed",
        )
        return convolution(image).reshape(image.shape[0], -1, cfg.image_width)
