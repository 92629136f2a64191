"""Position embeddings for another image size."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
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


def sincos_positions(
    key: Array, shape: tuple[int, int, int], dtype: DTypeLike = jnp.float32
) -> Float[Array, "1 N D"]:
    """Initial positions that say where a patch is: half of the channels its column, half its row.

    Sines and cosines of wavelengths from 2 pi to 20,000 pi patches, as in arXiv 2205.01580;
    zeros for the class token. An initializer: `key` is not used.

    Raises:
        ValueError: a width that is no multiple of 4, or patches that form no square.
    """
    _, tokens, width = shape
    side = math.isqrt(tokens - 1)
    if width % 4 or side * side != tokens - 1:
        raise ValueError(
            f"sincos positions of shape {shape}: the width must be a multiple of 4, and the "
            "patches a square number"
        )
    quarter = width // 4
    angles = jnp.arange(side)[:, None] / 10_000 ** (jnp.arange(quarter) / quarter)
    line = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    columns, rows = jnp.tile(line, (side, 1)), jnp.repeat(line, side, axis=0)
    patches = jnp.concatenate([columns, rows], axis=-1)
    return jnp.pad(patches, ((1, 0), (0, 0)))[None].astype(dtype)
