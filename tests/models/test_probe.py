"""Zeros added to attention probabilities: they change nothing but open the way to a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from albef_jax.models import attention
from albef_jax.models.bert import CrossAttention, FusionLayer
from albef_jax.models.vit import ViTBlock

RNG = np.random.default_rng(0)
TEXT = RNG.standard_normal((2, 3, 4, 24), np.float32)  # [B, R, T, D]
IMAGE = RNG.standard_normal((2, 5, 32), np.float32)
IMAGE_MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
WEIGHTS = RNG.standard_normal((2, 3, 4, 24), np.float32)
PROBE = np.zeros((2, 2, 12, 5), np.float32)  # [B, H, R * T, N]
HEADS = 2


def first(stacked):
    return jax.tree.map(lambda leaf: leaf[0], stacked)


@pytest.fixture(scope="module")
def fusion(tiny):
    """A fusion layer as a function of its probe: output and intermediates."""
    layer = {"params": first(tiny.params["fusion_encoder"]["layers"])}
    module = FusionLayer(tiny.config, deterministic=True)
    mask = jnp.asarray(RNG.integers(0, 2, (6, 4), np.int32).clip(np.arange(4) == 0))
    bias = attention.self_bias(mask, causal=False)
    inputs = jnp.asarray(TEXT), bias, jnp.asarray(IMAGE), attention.cross_bias(IMAGE_MASK), None

    def run(probe):
        return module.apply(layer, *inputs, probe=probe, mutable=["intermediates"])

    return run


@pytest.fixture(scope="module")
def block(tiny):
    """As `fusion`, of the image encoder."""
    layer = {"params": first(tiny.params["image_encoder"]["blocks"])}
    module, x = ViTBlock(tiny.config), jnp.asarray(IMAGE)
    return lambda probe: module.apply(layer, x, probe=probe, mutable=["intermediates"])


@pytest.mark.parametrize("name, width", [("fusion", 12), ("block", 5)])
def test_zeros_leave_the_output_as_it_is(name, width, request):
    run = jax.jit(request.getfixturevalue(name))
    plain, nothing = run(None)
    found, kept = run(jnp.zeros((2, 2, width, 5)))
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)
    assert not nothing
    (probabilities,) = jax.tree.leaves(kept)
    assert probabilities.shape == (2, 2, width, 5)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1, rtol=1e-5)


def heads(x):
    return x.reshape(*x.shape[:-1], HEADS, -1)


def cross_attention(params, probe):
    """In float64, text by text: the output and the probabilities `[B, H, R, T, N]`."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def project(name, x):
        return heads(x @ params[name]["kernel"] + params[name]["bias"])

    query, key, value = project("query", TEXT), project("key", IMAGE), project("value", IMAGE)
    scores = np.einsum("brthk,bnhk->bhrtn", query, key) / np.sqrt(query.shape[-1])
    scores = np.where(IMAGE_MASK[:, None, None, None] == 1, scores, -np.inf)
    probabilities = softmax(scores, axis=-1)
    attended = np.einsum("bhrtn,bnhk->brthk", probabilities + probe, value).reshape(TEXT.shape)
    x = attended @ params["out"]["kernel"] + params["out"]["bias"] + TEXT
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * params["norm"]["scale"] + params["norm"]["bias"], probabilities


@pytest.fixture(scope="module")
def attended(tiny):
    """Cross-attention with a probe of zeros: gradient, output and probabilities."""
    params = first(tiny.params["fusion_encoder"]["layers"]["cross_attention"])
    module = CrossAttention(tiny.config, deterministic=True)
    bias = attention.cross_bias(IMAGE_MASK)

    def loss(probe):
        x, kept = module.apply(
            {"params": params},
            jnp.asarray(TEXT),
            TEXT.shape,
            jnp.asarray(IMAGE),
            bias,
            None,
            probe=probe,
            mutable=["intermediates"],
        )
        return jnp.sum(WEIGHTS * x), (x, *jax.tree.leaves(kept))

    gradient, (x, probabilities) = jax.jit(jax.grad(loss, has_aux=True))(jnp.asarray(PROBE))
    return params, gradient, x, probabilities


def test_the_probabilities_are_kept(attended):
    params, _, x, probabilities = attended
    output, expected = cross_attention(params, 0.0)
    np.testing.assert_allclose(x, output, rtol=1e-4, atol=1e-5)
    found = np.asarray(probabilities).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not np.any(found[1, ..., 3:])


def test_its_gradient_is_that_of_the_probabilities(attended):
    """Finite differences of the probabilities, one at a time, also of those that are zero."""
    params, gradient, *_ = attended
    expected = np.zeros((2, 2, 3, 4, 5))
    for place in np.ndindex(expected.shape):
        step = np.zeros(expected.shape)
        step[place] = 1e-4
        ends = [np.sum(WEIGHTS * cross_attention(params, sign * step)[0]) for sign in (1, -1)]
        expected[place] = (ends[0] - ends[1]) / 2e-4
    scale = np.abs(expected).max()
    assert scale > 0.1
    found = np.asarray(gradient).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
