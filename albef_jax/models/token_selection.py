"""Which tokens of the last fusion layer are read.

The match head reads class tokens, the vocabulary head masked tokens; what the last layer makes of
the others is thrown away. So they are not computed: everything in that layer that works token by
token (projections, norms, MLP) runs on the tokens that are read, packed side by side.
Shape letters: G groups of g images, R texts an image, T text tokens, S = g * R * T tokens of a
group, C of them read, D width.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class TokenSelection(NamedTuple):
    """The tokens that are read.

    Attributes:
        token: the token in each slot, by its position among the group's S.
        slot: the inverse: each token's slot; any slot for a token that is not read.
    """

    token: Int[Array, "G C"]
    slot: Int[Array, "G S"]


def class_tokens(images: int, texts: int, length: int) -> TokenSelection:
    """The first token of every text; an image is a group, `C = R`."""
    token = jnp.arange(texts) * length
    slot = jnp.arange(texts * length) // length
    return TokenSelection(jnp.tile(token, (images, 1)), jnp.tile(slot, (images, 1)))


def gather(x: Float[Array, "*B D"], selection: TokenSelection | None) -> Float[Array, "*C D"]:
    """The tokens that are read, `[G, C, D]`; all of them as they are without a `selection`."""
    if selection is None:
        return x
    grouped = x.reshape(len(selection.token), -1, x.shape[-1])
    return jnp.take_along_axis(grouped, selection.token[..., None], axis=1)


def scatter(
    packed: Float[Array, "*C D"], selection: TokenSelection | None, shape: tuple[int, ...]
) -> Float[Array, "*B D"]:
    """Packed tokens back in their places, in an array of `shape`; what is in the other places does
    not matter, and is that of some token which is read."""
    if selection is None:
        return packed.reshape(shape)
    return jnp.take_along_axis(packed, selection.slot[..., None], axis=1).reshape(shape)
