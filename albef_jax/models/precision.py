"""Where rounding matters, computation is in float32 at least, whatever the model's dtype."""

import jax.numpy as jnp
from jax.typing import DTypeLike


def wide(dtype: DTypeLike) -> jnp.dtype:
    """float32 for all shorter types: of norms, softmax and logits."""
    return jnp.promote_types(dtype, jnp.float32)
