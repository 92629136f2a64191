import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models.attention import (
    Dropout,
    cross_bias,
    heads_first,
    image_attention,
    self_bias,
    split_heads,
    text_attention,
)

RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = (RNG.standard_normal((2, n, 3, 4), np.float32) for n in (5, 7, 7))


def oracle(query, key, value, bias):
    """Attention one head and one query at a time, in float64."""
    query, key, value = (x.astype(np.float64) for x in (query, key, value))
    out = np.zeros(query.shape)
    for b, t, h in np.ndindex(*query.shape[:3]):
        scores = key[b, :, h] @ query[b, t, h] / np.sqrt(query.shape[-1]) + bias[b, t]
        weights = np.exp(scores - scores.max())
        out[b, t, h] = weights / weights.sum() @ value[b, :, h]
    return out


def attend(query, key, value, bias, **options):
    """`text_attention` of arrays with the heads last but one."""
    first = (heads_first(jnp.asarray(x), options.get("multiple", 1)) for x in (key, value))
    return text_attention(jnp.asarray(query), *first, bias, key.shape[1], **options)


def test_text_attention_is_attention():
    bias = RNG.standard_normal((2, 5, 7)).astype(np.float32)
    found = attend(QUERY, KEY, VALUE, jnp.asarray(bias)[:, None])
    np.testing.assert_allclose(found, oracle(QUERY, KEY, VALUE, bias), rtol=1e-5, atol=1e-6)


def test_image_attention_is_attention_without_bias():
    found = image_attention(*map(jnp.asarray, (QUERY, KEY, VALUE)), "xla")
    expected = oracle(QUERY, KEY, VALUE, np.zeros((2, 5, 7)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_masked_keys_weigh_nothing():
    mask = jnp.array([[1, 1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 1, 1, 1]])
    for bias in (self_bias(mask, causal=False), cross_bias(mask)):
        found = attend(QUERY, KEY, VALUE, bias)
        for row in (0, 1):
            seen = np.flatnonzero(mask[row])
            alone = [x[row : row + 1] for x in (QUERY, KEY[:, seen], VALUE[:, seen])]
            expected = oracle(*alone, np.zeros((1, 5, len(seen))))
            np.testing.assert_allclose(found[row : row + 1], expected, rtol=1e-5, atol=1e-6)


def test_causal_bias_hides_later_positions_and_padding():
    bias = self_bias(jnp.array([[1, 1, 1, 0]]), causal=True)
    seen = np.asarray(bias[0, 0]) == 0
    np.testing.assert_array_equal(seen, [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]])


def test_penalties_are_the_official_ones():
    mask = jnp.array([[1, 0]])
    assert np.asarray(self_bias(mask, causal=False)).tolist() == [[[[0, -10_000]]]]
    assert np.asarray(cross_bias(mask)).tolist() == [[[[0, np.float32(-1e9)]]]]


def test_heads_are_neighbouring_columns():
    x = jnp.arange(24.0).reshape(1, 2, 12)
    assert split_heads(x, 3)[0, 1, 2].tolist() == x[0, 1, 8:12].tolist()


def test_dropout_thins_the_probabilities():
    zeros, ones = np.zeros((1, 400, 1, 1), np.float32), np.ones((1, 400, 1, 1), np.float32)
    module = Dropout(0.25, deterministic=False)
    dropout = module.bind({}, rngs={"dropout": jax.random.key(0)})
    out = np.asarray(attend(zeros, zeros, ones, None, dropout=dropout))
    # 400 equal weights of 1/400, kept with probability 3/4 and then enlarged by 4/3.
    kept = out * 400 * 0.75
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-3)
    assert kept.mean() == pytest.approx(300, rel=0.01)
    assert kept.std() == pytest.approx((400 * 0.75 * 0.25) ** 0.5, rel=0.2)


def explicit(query, key, value, bias, keep, rate):
    """Attention that JAX differentiates, with given dropout."""
    scores = jnp.einsum("bthk,bshk->bhts", query, key) / query.shape[-1] ** 0.5
    probabilities = jnp.where(keep, jax.nn.softmax(scores + bias) / (1 - rate), 0)
    return jnp.einsum("bhts,bshk->bthk", probabilities, value)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (1, 1, 5, 7)])
def test_gradients_are_those_of_explicit_attention(rate, shape):
    bias = jnp.asarray(RNG.standard_normal(shape).astype(np.float32))
    module = Dropout(rate, deterministic=False)

    def dropout():
        return module.bind({}, rngs={"dropout": jax.random.key(3)})

    keep = dropout().keep((2, 3, 5, 7)) if rate else True

    def loss(function):
        return lambda *inputs: jnp.sum(jnp.sin(function(*inputs)))

    def ours(*inputs):
        return attend(*inputs, dropout=dropout())

    inputs = *map(jnp.asarray, (QUERY, KEY, VALUE)), bias
    found = jax.grad(loss(ours), argnums=(0, 1, 2, 3))(*inputs)
    plain = loss(lambda *inputs: explicit(*inputs, keep, rate))
    expected = jax.grad(plain, argnums=(0, 1, 2, 3))(*inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [None, RNG.standard_normal((2, 1, 5, 7)).astype(np.float32)])
def test_padding_for_speed_changes_nothing(bias):
    inputs = [jnp.asarray(x) for x in (QUERY, KEY, VALUE)]

    def gradients(multiple):
        def loss(*inputs):
            output = attend(*inputs, bias, multiple=multiple)
            return jnp.sum(jnp.sin(output)), output

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*inputs)

    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6),
        gradients(8),
        gradients(1),
    )


def test_image_attention_hides_tokens_that_were_added():
    padded = [
        jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=9.0) for x in (KEY, VALUE)
    ]
    found = image_attention(jnp.asarray(QUERY), *padded, "xla", tokens=7)
    expected = oracle(QUERY, KEY, VALUE, np.zeros((2, 5, 7)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
