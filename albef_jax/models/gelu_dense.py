"""A linear layer followed by GELU: what every MLP here begins with."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from albef_jax.models.primitives import initial


@jax.checkpoint
def _biased_gelu(product: Float[Array, "... W"], bias: Float[Array, " W"]) -> Float[Array, "... W"]:
    """The backward pass keeps the product alone and computes the rest of it again."""
    return nn.gelu(product + bias, approximate=False)


class GeluDense(nn.Module):
    """As `nn.Dense` and exact GELU.

    Attributes:
        width: of the output.
        init_width: width of the encoder, for `primitives.initial`.
    """

    width: int
    init_width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... W"]:
        """Apply both."""
        kernel = self.param("kernel", initial(self.init_width), (x.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=jnp.dtype(self.dtype))
        return _biased_gelu(x @ kernel, bias)
