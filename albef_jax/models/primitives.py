"""Small functions that every model uses: initial weights, pixel normalisation, float32 islands."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

# Mean and standard deviation per channel, those of the official code (and of CLIP).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def initial(width: int, gains: tuple[float, ...] = (1.0,)) -> nn.initializers.Initializer:
    """Normal weights for an encoder of `width`: the usual 0.02 at 768, the same signal elsewhere.

    At width 128 a standard deviation of 0.02 would leave a model nearly deaf to its input.

    Args:
        gains: of equal parts of the last dimension, what they are multiplied with.
    """
    normal = nn.initializers.normal(0.02 * (768 / width) ** 0.5)
    if set(gains) == {1.0}:
        return normal

    def scaled(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return normal(key, shape, dtype) * jnp.repeat(
            jnp.asarray(gains, dtype), shape[-1] // len(gains)
        )

    return scaled


def normalize(image: UInt8[Array, "... H W 3"]) -> Float[Array, "... H W 3"]:
    """Scale uint8 pixels to [0, 1] and normalise each channel, on the device."""
    return (image.astype(jnp.float32) / 255.0 - jnp.array(MEAN)) / jnp.array(STD)


def wide(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of norms, softmax and logits: float32, or float64 for a float64 model."""
    return jnp.promote_types(dtype, jnp.float32)
