"""Rows of a batch taken inside groups, so that none leaves the device that holds its group."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def take_in_group(x: Array, index: Int[Array, "G C"]) -> Array:
    """Row `index[i, j]` of group i, for `x [G * g, ...]` cut into G groups of g: `[G * C, ...]`."""
    grouped = x.reshape(len(index), -1, *x.shape[1:])
    return _take_rows(grouped, index).reshape(-1, *x.shape[1:])


@jax.custom_vjp
def _take_rows(x: Float[Array, "G g ..."], index: Int[Array, "G C"]) -> Float[Array, "G C ..."]:
    """Gather whose gradient is a product with ones and zeros: a scatter takes several times as
    long, and wants float32."""
    return _take_forward(x, index)[0]


def _take_forward(x: Array, index: Array) -> tuple[Array, tuple[Array, Array]]:
    rows_of = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, rows_of, axis=1), (index, jnp.arange(x.shape[1]))


def _take_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    index, rows = kept
    taken = (index[..., None] == rows).astype(gradient.dtype)
    # Also where products in float32 are rounded by default.
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("gji,gj...->gi...", taken, gradient, precision=exact), None


_take_rows.defvjp(_take_forward, _take_backward)
