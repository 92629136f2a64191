"""The answer decoder: causal BERT layers that attend to the question's fused tokens (VQA).

It has as many layers as the fusion encoder, embeddings and a vocabulary head of its own, and starts
as a copy of the fusion encoder (paper section 5, VQA). All answers of a question are rows of one
call, or rows that name it, so that the question's keys and values are computed once.
Shape letters: B questions, R answers a question, T answer tokens, S question tokens, D text width,
V vocabulary; C answers of each of G groups of questions.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.models import attention, bert
from albef_jax.models.albef import MlmHead, Params, rngs
from albef_jax.models.config import ModelConfig
from albef_jax.models.take_rows import take_in_group


def decode(
    config: ModelConfig,
    params: Params,
    answer_ids: Int[Array, "B R T"],
    answer_mask: Int[Array, "B R T"],
    question_states: Float[Array, "B S D"] | None,
    question_mask: Int[Array, "B S"],
    dropout_key: Array | None = None,
    question: bert.KeysValues | None = None,
    question_of: Int[Array, "G C"] | None = None,
) -> Float[Array, "B R T V"]:
    """Vocabulary logits; those at position t are for the token at t + 1.

    Args:
        question: of `question_keys_values`, instead of `question_states`, for many calls.
        question_of: if given, there are `[G * C, 1, T]` answers, which read this one of their
            group's questions: any number of answers a question, in G groups of B / G questions.
    """
    if question_of is not None:
        question_mask = take_in_group(question_mask, question_of)
    decoder = params["answer_decoder"]
    images, rows, length = answer_ids.shape
    deterministic = dropout_key is None
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    x = bert.Embeddings(config, deterministic).apply(
        {"params": decoder["embeddings"]},
        answer_ids.reshape(-1, length),
        rngs=rngs(keys[0]),
    )
    x = bert.FusionEncoder(config, deterministic).apply(
        {"params": {"layers": decoder["layers"]}},
        cast(Array, x).reshape(images, rows, length, -1),
        attention.self_bias(answer_mask.reshape(-1, length), causal=True),
        question_states,
        attention.cross_bias(question_mask),
        None,
        question_of,
        question,
        rngs=rngs(keys[1]),
    )
    embedding = decoder["embeddings"]["word"]["embedding"]
    logits = MlmHead(config).apply({"params": decoder["head"]}, x, embedding)
    return cast(Array, logits)


def question_keys_values(
    config: ModelConfig, params: Params, question_states: Float[Array, "B S D"]
) -> bert.KeysValues:
    """What every layer makes of the questions, `[L, B, S, H, K]` each."""
    layers = params["answer_decoder"]["layers"]
    return bert.keys_values_of_layers(config, layers, question_states)


def init_decoder(config: ModelConfig, key: Array) -> Params:
    """Fresh parameters.

    Its keys and values read text tokens, so they are `text_width` wide, not `encoder_width`.
    """
    embed_key, layers_key, head_key = jax.random.split(key, 3)
    length, width = 4, config.text_width
    ids, bias = jnp.zeros((1, length), jnp.int32), jnp.zeros((1, 1, 1, length))
    hidden, states = jnp.zeros((1, 1, length, width)), jnp.zeros((1, length, width))
    embeddings = bert.Embeddings(config, True).init(embed_key, ids)["params"]
    layers = bert.FusionEncoder(config).init(layers_key, hidden, bias, states)["params"]
    table = embeddings["word"]["embedding"]
    head = MlmHead(config).init(head_key, hidden, table)["params"]
    return {"embeddings": embeddings, **layers, "head": head}
