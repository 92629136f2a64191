"""From pixels to tokens: one product for each patch, or a stack of convolutions.

Shape letters: B batch, H W pixels, C channels of the stem.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import initial


class ConvolutionalStem(nn.Module):
    """All convolutions but the last, which is the patch embedding (arXiv 2106.14881, section 4).

    Each one halves the sides and doubles the channels; no norms, so that images stay independent.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B H/P*2 W/P*2 C"]:
        """Twice as many rows and columns as there will be patches."""
        x = image
        for index, channels in enumerate(self.config.stem_channels[:-1]):
            x = _halving(channels, self.config.dtype, f"conv_{index}")(x)
            x = nn.gelu(x, approximate=False)
        return x


def patch_embedding(config: ModelConfig) -> nn.Conv:
    """The convolution whose outputs are the tokens."""
    if config.image_stem == "convolutions":
        return _halving(config.image_width, config.dtype)
    size = (config.patch_size, config.patch_size)
    # A product of cut patches is the same, but XLA:GPU then transposes the tokens of all
    # blocks. This kernel's gradient is summed in the dtype of the products.
    return nn.Conv(
        config.image_width,
        size,
        strides=size,
        padding="VALID",
        dtype=jnp.dtype(config.dtype),
        kernel_init=initial(config.image_width),
    )


def _halving(channels: int, dtype: str, name: str | None = None) -> nn.Conv:
    return nn.Conv(
        channels,
        (3, 3),
        strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dtype=jnp.dtype(dtype),
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )
