"""From uint8 pixels to what the image encoder reads, on the device."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

# Mean and standard deviation per channel, as published (those of CLIP).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalize(image: UInt8[Array, "... H W 3"]) -> Float[Array, "... H W 3"]:
    """Scale to [0, 1] and normalise each channel."""
    return (image.astype(jnp.float32) / 255.0 - jnp.array(MEAN)) / jnp.array(STD)
