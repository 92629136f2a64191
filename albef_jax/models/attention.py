"""Attention: the image encoder's through the library, the text layers' written out.

Text attention is explicit because it needs dropout on the probabilities, which
`jax.nn.dot_product_attention` does not offer, and because Grad-CAM reads the probabilities.
Shape letters: B batch, T queries, S keys, H heads, K width of a head, D width.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

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


def available(implementation: Implementation) -> Implementation:
    """An implementation of the image encoder's attention that runs on the default device."""
    return implementation if jax.default_backend() == "gpu" else "xla"


def image_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    implementation: Implementation,
) -> Float[Array, "B T H K"]:
    """Unmasked attention without dropout.

    cuDNN's kernels take even lengths alone: an odd one gets one more token, which the lengths hide.
    """
    if implementation == "xla":
        return jax.nn.dot_product_attention(query, key, value, implementation="xla")
    batch, queries, keys = len(query), query.shape[1], key.shape[1]
    padded = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    attended = jax.nn.dot_product_attention(
        *padded,
        query_seq_lengths=jnp.full(batch, queries, jnp.int32),
        key_value_seq_lengths=jnp.full(batch, keys, jnp.int32),
        implementation="cudnn",
    )
    return attended[:, :queries]


def text_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    bias: Array | None,
    dropout: nn.Dropout,
) -> Float[Array, "B T H K"]:
    """Attention with an additive `bias` and dropout on the probabilities; softmax in float32."""
    probabilities = dropout(attention_probabilities(query, key, bias))
    return attend(probabilities, value)


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
