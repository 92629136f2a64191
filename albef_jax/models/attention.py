"""Attention: the image encoder's through the library, the text layers' written out.

Text attention is explicit because it needs dropout on the probabilities, which
`jax.nn.dot_product_attention` does not offer, and because Grad-CAM reads the probabilities.
Shape letters: B batch, T queries, S keys, H heads, K width of a head, D width.
"""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from albef_jax.models.primitives import wide

Implementation = Literal["xla", "cudnn"]
# What the official system adds to a masked score (LEDGER, encoders).
SELF_PENALTY = -10_000.0
CROSS_PENALTY = -1e9


def self_bias(mask: Int[Array, "B S"], causal: bool) -> Float[Array, "B 1 q S"]:
    """Additive scores that hide padding (mask 0) and, if `causal`, later positions; q is 1 or S."""
    seen = mask[:, None, None, :].astype(jnp.float32)
    if causal:
        seen = seen * jnp.tril(jnp.ones((mask.shape[1],) * 2))
    return (1.0 - seen) * SELF_PENALTY


def cross_bias(mask: Int[Array, "B S"]) -> Float[Array, "B 1 1 S"]:
    """Additive scores that hide image tokens whose mask is 0."""
    return (1.0 - mask[:, None, None, :].astype(jnp.float32)) * CROSS_PENALTY


def split_heads(x: Float[Array, "B T D"], heads: int) -> Float[Array, "B T H K"]:
    """Cut the width into heads."""
    return x.reshape(*x.shape[:2], heads, -1)


def heads_first(x: Float[Array, "B S H K"], multiple: int) -> Float[Array, "B H M K"]:
    """Keys or values as `text_attention` takes them, padded to a multiple of so many.

    Tensor cores take eights; XLA would pad the operands of every product by itself.
    """
    x = jnp.swapaxes(x, 1, 2)
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % multiple), (0, 0)))


class Dropout(nn.Dropout):
    """What dropout keeps, for those who apply it themselves."""

    def keep(self, shape: tuple[int, ...]) -> Bool[Array, "..."] | None:
        """Draw anew at each call; None without dropout."""
        if self.deterministic or not self.rate:
            return None
        return jax.random.bernoulli(self.make_rng(self.rng_collection), 1 - self.rate, shape)


def available(implementation: Implementation) -> Implementation:
    """An implementation of the image encoder's attention that runs on the default device."""
    return implementation if jax.default_backend() == "gpu" else "xla"


def image_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    implementation: Implementation,
    tokens: int | None = None,
) -> Float[Array, "B T H K"]:
    """Attention without dropout to the first `tokens` keys, or to all.

    cuDNN's kernels take even lengths alone: an odd one gets one more token, which is hidden.
    """
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    seen = keys if tokens is None else tokens
    if implementation == "xla":
        lengths = None if seen == keys else jnp.full(batch, seen, jnp.int32)
        return jax.nn.dot_product_attention(
            query, key, value, key_value_seq_lengths=lengths, implementation="xla"
        )
    padded = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    attended = jax.nn.dot_product_attention(
        *padded,
        query_seq_lengths=jnp.full(batch, queries, jnp.int32),
        key_value_seq_lengths=jnp.full(batch, seen, jnp.int32),
        implementation="cudnn",
    )
    return attended[:, :queries]


def text_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B H S K"],
    value: Float[Array, "B H S K"],
    bias: Float[Array, "#B 1 #T seen"] | None,
    seen: int,
    *,
    dropout: Dropout | None = None,
    multiple: int = 1,
) -> Float[Array, "B T H K"]:
    """Attention with an additive `bias` and dropout on the probabilities; softmax in float32.

    Args:
        key, value: of `heads_first`; those beyond the first `seen` are hidden.
        multiple: as in `heads_first`, for the queries.
    """
    length, keys = query.shape[1], key.shape[2]
    if bias is None and keys > seen:
        bias = jnp.zeros((1, 1, 1, seen))
    if bias is not None:
        added = -length % multiple if bias.shape[2] > 1 else 0
        bias = jnp.pad(bias, ((0, 0), (0, 0), (0, added), (0, 0)))
        bias = jnp.pad(
            bias, ((0, 0), (0, 0), (0, 0), (0, keys - seen)), constant_values=CROSS_PENALTY
        )
    query = heads_first(query, multiple)
    keep = None if dropout is None else dropout.keep((*query.shape[:3], keys))
    rate = 0.0 if dropout is None else dropout.rate
    attended = _attention(query, key, value, bias, keep, rate)
    return jnp.swapaxes(attended[:, :, :length], 1, 2)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attention(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B H S K"],
    value: Float[Array, "B H S K"],
    bias: Array | None,
    keep: Bool[Array, "B H T S"] | None,
    rate: float,
) -> Float[Array, "B H T K"]:
    """Attention whose backward pass reads the probabilities in the model's dtype.

    Differentiated by JAX, it would keep them in float32, and several times.
    """
    return _forward(query, key, value, bias, keep, rate)[0]


def _forward(query, key, value, bias, keep, rate) -> tuple[Array, tuple]:
    scores = jnp.einsum("bhtk,bhsk->bhts", query, key, preferred_element_type=wide(query.dtype))
    scores = scores / math.sqrt(query.shape[-1])
    probabilities = nn.softmax(scores if bias is None else scores + bias, axis=-1)
    probabilities = dropped = jax.lax.optimization_barrier(probabilities.astype(value.dtype))
    if keep is not None:
        dropped = jnp.where(keep, probabilities / (1 - rate), 0)
    attended = jnp.einsum("bhts,bhsk->bhtk", dropped, value)
    thinned = None if keep is None else dropped
    return attended, (query, key, value, bias, keep, probabilities, thinned, attended)


def _backward(rate: float, kept: tuple, gradient: Float[Array, "B H T K"]) -> tuple[Any, ...]:
    """The gradients, with the sum of p dp over keys as the sum of o do (FlashAttention, B.2)."""
    query, key, value, bias, keep, probabilities, dropped, attended = kept
    dtype, precise = query.dtype, wide(query.dtype)
    if dropped is None:
        dropped = probabilities
    to_value = jnp.einsum("bhts,bhtk->bhsk", dropped, gradient)
    to_probabilities = jnp.einsum("bhtk,bhsk->bhts", gradient, value).astype(precise)
    if keep is not None:
        to_probabilities = jnp.where(keep, to_probabilities / (1 - rate), 0)
    mean = (gradient.astype(precise) * attended.astype(precise)).sum(-1, keepdims=True)
    to_scores = probabilities.astype(precise) * (to_probabilities - mean)
    to_products = (to_scores / math.sqrt(query.shape[-1])).astype(dtype)
    to_query = jnp.einsum("bhts,bhsk->bhtk", to_products, key)
    to_key = jnp.einsum("bhts,bhtk->bhsk", to_products, query)
    to_bias = None
    if bias is not None:
        summed = tuple(axis for axis in range(4) if bias.shape[axis] < to_scores.shape[axis])
        to_bias = to_scores.sum(summed, keepdims=True).astype(bias.dtype)
    return to_query, to_key, to_value, to_bias, None


_attention.defvjp(_forward, _backward)


def attention_probabilities(
    query: Float[Array, "B T H K"], key: Float[Array, "B S H K"], bias: Array | None
) -> Float[Array, "B H T S"]:
    """Softmax of the scaled scores plus `bias`, in float32."""
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide(query.dtype))
    scores = scores / math.sqrt(query.shape[-1])
    return nn.softmax(scores if bias is None else scores + bias, axis=-1)


def attend(
    probabilities: Float[Array, "B H T S"], value: Float[Array, "B S H K"]
) -> Float[Array, "B T H K"]:
    """The values' mean under the probabilities."""
    return jnp.einsum("bhts,bshk->bthk", probabilities.astype(value.dtype), value)
