"""Position embeddings for another image size."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def resize_position_embedding(
    embedding: Float[Array, "1 n D"], patches: int
) -> Float[Array, "1 m D"]:
    """Resample the patch grid to `patches` cells; the class token's row stays.

    Bicubic with a = -0.75 and without antialiasing, as in the official code (LEDGER, encoders).

    Raises:
        ValueError: a grid that is not square.
    """
    old, new = math.isqrt(embedding.shape[1] - 1), math.isqrt(patches)
    if old**2 != embedding.shape[1] - 1 or new**2 != patches:
        raise ValueError(
            f"position embeddings of {embedding.shape[1] - 1} and {patches} patches: "
            "both must be square numbers"
        )
    cls_token, grid = jnp.split(jnp.asarray(embedding), [1], axis=1)
    if old == new:
        return jnp.concatenate([cls_token, grid], axis=1)
    width = grid.shape[-1]
    grid = jax.image.resize(
        grid.reshape(1, old, old, width), (1, new, new, width), "cubic-pytorch", antialias=False
    )
    return jnp.concatenate([cls_token, grid.reshape(1, patches, width)], axis=1)
