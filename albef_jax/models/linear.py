"""Linear layers arranged for few and large kernels; their parameters are those of `nn.Dense`.

Gradients of parameters leave their products in `reduce_dtype`, since that is also what they are
summed in over devices: XLA sums a product where it is made.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from albef_jax.models.primitives import initial


class Linear(nn.Module):
    """`x @ kernel + bias`.

    Attributes:
        width: of the output.
        init_width: width of the encoder, for `primitives.initial`.
        dtype: of the product.
        reduce_dtype: of the kernel's gradient, `float32` or that of the product.
        gains: of equal parts of the output, what their initial weights are multiplied with.
    """

    width: int
    init_width: int
    dtype: DTypeLike
    reduce_dtype: DTypeLike
    gains: tuple[float, ...] = (1.0,)

    @nn.compact
    def weights(self, features: int) -> tuple[Float[Array, "D W"], Float[Array, " W"]]:
        """Kernel and bias for inputs of so many features."""
        kernel = self.param("kernel", initial(self.init_width, self.gains), (features, self.width))
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,))

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... W"]:
        """Apply the layer."""
        (output,) = joint_linear([self], x)
        return output

    def product(self, x: Float[Array, "... D"], kernel: Float[Array, "D W"]) -> Array:
        """`x @ kernel` in the dtype of the products."""
        return product(x.astype(self.dtype), kernel, self.reduce_dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    x: Float[Array, "... D"], kernel: Float[Array, "D W"], reduce_dtype: DTypeLike
) -> Float[Array, "... W"]:
    """`x @ kernel` in the dtype of `x`; `reduce_dtype` as in `Linear`."""
    return x @ kernel.astype(x.dtype)


def _product_forward(x, kernel, reduce_dtype):
    # Not by `product`, in which recomputation would not see a product that it may keep.
    return x @ kernel.astype(x.dtype), (x, kernel)


def _product_backward(reduce_dtype, kept, gradient):
    x, kernel = kept
    to_x = gradient @ kernel.astype(x.dtype).T
    summed = jnp.promote_types(reduce_dtype, x.dtype)
    rows = (tuple(range(x.ndim - 1)),) * 2
    to_kernel = jax.lax.dot_general(x, gradient, (rows, ((), ())), preferred_element_type=summed)
    return to_x, to_kernel.astype(kernel.dtype)


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def add_parameter(x: Float[Array, "... W"], parameter: Float[Array, "..."]) -> Array:
    """Their sum in the dtype of `x`; the parameter's gradient is summed in its own.

    Args:
        parameter: of one dimension, or of as many as `x` with some of length 1.
    """
    return x + parameter.astype(x.dtype)


def _add_forward(x, parameter):
    return x + parameter.astype(x.dtype), jnp.zeros_like(parameter)


def _add_backward(like, gradient):
    shape = (1,) * (gradient.ndim - like.ndim) + like.shape
    summed = tuple(axis for axis in range(gradient.ndim) if shape[axis] < gradient.shape[axis])
    return gradient, gradient.sum(summed, dtype=like.dtype).reshape(like.shape)


add_parameter.defvjp(_add_forward, _add_backward)


@jax.checkpoint
def _biased_gelu(product: Float[Array, "... W"], bias: Float[Array, " W"]) -> Float[Array, "... W"]:
    """The backward pass keeps the product alone and computes the rest of it again."""
    return nn.gelu(add_parameter(product, bias), approximate=False)


def gelu_linear(layer: Linear, x: Float[Array, "... D"]) -> Float[Array, "... W"]:
    """A linear layer followed by exact GELU: what every MLP here begins with."""
    kernel, bias = layer.weights(x.shape[-1])
    return _biased_gelu(layer.product(x, kernel), bias)


def split_linear(layer: Linear, x: Float[Array, "... D"], parts: int) -> list[Array]:
    """Equal parts of a linear layer's output, each a product of its own.

    One product would have to be cut, and its gradient be put together again.
    """
    kernel, bias = layer.weights(x.shape[-1])
    kernels, biases = jnp.split(kernel, parts, axis=1), jnp.split(bias, parts)
    x = x.astype(layer.dtype)  # once, so that its gradient is summed by the products
    return [add_parameter(layer.product(x, kernels[i]), biases[i]) for i in range(parts)]


def joint_linear(layers: Sequence[Linear], x: Float[Array, "... D"]) -> list[Array]:
    """Outputs of linear layers that read the same, by one product: for outputs that are
    rearranged in any case."""
    kernels, biases = zip(*(layer.weights(x.shape[-1]) for layer in layers), strict=True)
    product = layers[0].product(x, jnp.concatenate(kernels, axis=1))
    return jnp.split(add_parameter(product, jnp.concatenate(biases)), len(layers), axis=-1)
