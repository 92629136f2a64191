"""Linear layers arranged for speed are the plain ones, and so are their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from albef_jax.models.linear import (
    Linear,
    add_parameter,
    gelu_linear,
    joint_linear,
    product,
    split_linear,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5, 8), np.float32)
DTYPES = ("float32", "float32")


def parameters(width, seed):
    rng = np.random.default_rng(seed)
    kernel, bias = (rng.standard_normal(shape, np.float32) for shape in ((8, width), (width,)))
    return {"kernel": kernel, "bias": bias}


def bound(params, width, dtypes=DTYPES):
    """A layer with these parameters."""
    return Linear(width, 8, *dtypes).bind({"params": params})


def plain(params, x):
    return x @ params["kernel"] + params["bias"]


WAYS = {
    "alone": (lambda a, b, x: bound(a, 6)(x), lambda a, b, x: plain(a, x)),
    "with GELU": (
        lambda a, b, x: gelu_linear(bound(a, 6), x),
        lambda a, b, x: nn.gelu(plain(a, x), approximate=False),
    ),
    "split": (
        lambda a, b, x: jnp.stack([*split_linear(bound(a, 6), x, 3)]),
        lambda a, b, x: jnp.stack(jnp.split(plain(a, x), 3, axis=-1)),
    ),
    "joint": (
        lambda a, b, x: jnp.stack(joint_linear([bound(a, 6), bound(b, 6)], x)),
        lambda a, b, x: jnp.stack([plain(a, x), plain(b, x)]),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_values_and_gradients(way):
    def all_of(function):
        def loss(*inputs):
            output = function(*inputs)
            return jnp.sum(jnp.sin(output)), output

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))

    arranged, expected = (
        all_of(function)(parameters(6, 1), parameters(6, 2), X) for function in WAYS[way]
    )
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5),
        arranged,
        expected,
    )


def test_the_parameters_are_those_of_a_dense_layer():
    key = jax.random.key(0)
    ours = Linear(6, 8, *DTYPES).init(key, X)
    theirs = nn.Dense(6, kernel_init=nn.initializers.normal(0.02 * (768 / 8) ** 0.5)).init(key, X)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(("reduce_dtype", "rounded"), [("float32", False), ("bfloat16", True)])
def test_gradients_of_kernels_leave_their_products_in_the_dtype_asked_for(reduce_dtype, rounded):
    x = jnp.asarray(X, jnp.bfloat16)
    kernel = parameters(6, 1)["kernel"]
    loss = jax.grad(lambda kernel: product(x, kernel, reduce_dtype).sum().astype(jnp.float32))
    found = np.asarray(jax.jit(loss)(kernel))
    assert found.dtype == np.float32
    exact = np.broadcast_to(np.asarray(x, np.float64).sum((0, 1))[:, None], found.shape)
    assert (np.abs(found - exact).max() > 1e-3) == rounded
    short = np.asarray(jnp.asarray(found, jnp.bfloat16), np.float32)
    assert np.array_equal(short, found) == rounded


@pytest.mark.parametrize("shape", [(8,), (5, 8), (1, 5, 8), (1, 1, 8)])
def test_a_parameters_gradient_is_summed_in_float32(shape):
    """In bfloat16, adding ones would end at 256."""
    x = jnp.zeros((600, 5, 8), jnp.bfloat16)
    output, pull_back = jax.vjp(add_parameter, x, jnp.ones(shape))
    assert output.dtype == jnp.bfloat16
    to_x, to_parameter = pull_back(jnp.ones_like(output))
    assert to_x.shape == x.shape
    assert to_parameter.dtype == jnp.float32
    np.testing.assert_array_equal(to_parameter, np.full(shape, x.size / np.prod(shape)))
