"""The answer decoder one token at a time, with the keys and values of the tokens before.

`decoder.decode` reads a whole answer, as training needs it; generating with it would read the
beginning again for each token.
Shape letters: L layers, B questions, R answers a question, H heads, T answer tokens at most, K
width of a head, D text width, V vocabulary.
"""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from albef_jax.models import attention, bert
from albef_jax.models.albef import MlmHead, Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.linear import joint_linear


class Past(NamedTuple):
    """Keys and values of the tokens so far; zeros at later positions."""

    key: Float[Array, "L B R H T K"]
    value: Float[Array, "L B R H T K"]

    def of_rows(self, rows: Int[Array, "B R"]) -> "Past":
        """That of these answers of each question: beams that live on may have one ancestor."""
        index = rows[None, :, :, None, None, None]
        return Past(*(jnp.take_along_axis(x, index, axis=2) for x in self))


def nothing_yet(config: ModelConfig, questions: int, rows: int, length: int) -> Past:
    """Before the first token."""
    width = config.text_width // config.text_heads
    shape = (config.fusion_depth, questions, rows, config.text_heads, length, width)
    return Past(*(jnp.zeros(shape, config.dtype) for _ in Past._fields))


def decode_next(
    config: ModelConfig,
    params: Params,
    token: Int[Array, "B R"],
    position: Int[Array, ""] | int,
    past: Past,
    question: bert.KeysValues,
    question_mask: Int[Array, "B S"],
) -> tuple[Float[Array, "B R V"], Past]:
    """Vocabulary logits for the next token, and the past with this one.

    Equal to those of `decode` at this position, where later ones are masked.

    Args:
        token: at `position`, from 0.
        question: of `decoder.question_keys_values`.
    """
    decoder = params["answer_decoder"]
    embeddings = bert.Embeddings(config, True)
    embedded = embeddings.apply(
        {"params": decoder["embeddings"]}, token.reshape(-1, 1), first=jnp.asarray(position)
    )
    bias = attention.cross_bias(question_mask)

    def layer(x: Array, own) -> tuple[Array, Past]:
        weights, before, keys_values = own
        out = _Layer(config).apply({"params": weights}, x, position, before, keys_values, bias)
        return cast(tuple[Array, Past], out)

    x, past = jax.lax.scan(
        layer,
        cast(Array, embedded).reshape(*token.shape, 1, -1),
        (decoder["layers"], past, question),
        unroll=min(config.unroll, config.fusion_depth),
    )
    embedding = decoder["embeddings"]["word"]["embedding"]
    logits = MlmHead(config).apply({"params": decoder["head"]}, x, embedding)
    return cast(Array, logits)[:, :, 0], past


class _SelfAttention(nn.Module):
    """`bert.SelfAttention` of one token to those before it and itself."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "N 1 D"], position: Array, past: Past
    ) -> tuple[Float[Array, "N 1 D"], Past]:
        """Attend; `past` is `[N, H, T, K]` here."""
        cfg, length = self.config, past.key.shape[2]
        layers = [bert.linear(cfg, cfg.text_width, name) for name in ("query", "key", "value")]
        query, *new = (attention.split_heads(y, cfg.text_heads) for y in joint_linear(layers, x))
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=position, axis=2)
        past = Past(*(put(old, jnp.swapaxes(y, 1, 2)) for old, y in zip(past, new, strict=True)))
        later = jnp.arange(length) > position
        bias = jnp.where(later, attention.SELF_PENALTY, 0.0)[None, None, None]
        attended = attention.text_attention(
            query, past.key, past.value, bias, length, multiple=cfg.length_multiple
        )
        return bert.project_and_add(cfg, attended.reshape(x.shape), x, True), past


class _Layer(nn.Module):
    """`bert.FusionLayer` of one token."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B R 1 D"],
        position: Array,
        past: Past,
        question: bert.KeysValues,
        question_bias: Array,
    ) -> tuple[Float[Array, "B R 1 D"], Past]:
        """Apply the layer; `past` is `[B, R, H, T, K]` here."""
        cfg, shape = self.config, x.shape
        before = Past(*(y.reshape(-1, *y.shape[2:]) for y in past))
        own = _SelfAttention(cfg, name="self_attention")
        x, now = own(x.reshape(-1, *shape[2:]), position, before)
        past = Past(*(y.reshape(old.shape) for y, old in zip(now, past, strict=True)))
        cross = bert.CrossAttention(cfg, True, name="cross_attention")
        x = cross(x.reshape(shape), shape, None, question_bias, None, question)
        return bert.feed_forward(cfg, x, True), past
