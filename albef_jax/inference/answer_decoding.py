"""Answers to questions: ranking a list, or generating freely.

Shape letters: B questions, S question tokens, D text width, A answers in the list, K candidates,
T answer tokens, V vocabulary, W beams.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from albef_jax.losses.vqa import answer_losses
from albef_jax.models.albef import Params, fuse_pairs
from albef_jax.models.cached_decoder import decode_next, nothing_yet
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import decode, question_keys_values
from albef_jax.models.primitives import normalize

CHUNK = 16  # candidates whose logits are there at once


class Ranked(NamedTuple):
    """The K best answers, best first: places in the list, and their share among the K."""

    places: Int[Array, "B K"]
    probabilities: Float[Array, "B K"]
    scores: Float[Array, "B K"]


def rank(
    config: ModelConfig,
    params: Params,
    states: Float[Array, "B S D"],
    question_mask: Int[Array, "B S"],
    answer_ids: Int[Array, "A T"],
    answer_mask: Int[Array, "A T"],
    k: int,
) -> Ranked:
    """Rank a list of answers as in the official code.

    The K answers with the likeliest first token are candidates; a candidate's score is the
    log-likelihood of the whole answer plus, once more, that of its first token (LEDGER, VQA).

    Args:
        answer_ids: each starts with [CLS] and ends in [SEP].
        k: at most A.
    """
    question = question_keys_values(config, params, states)

    def read(ids: Array, mask: Array) -> Array:
        return decode(config, params, ids, mask, None, question_mask, question=question)

    start = jnp.broadcast_to(answer_ids[0, 0], (len(states), 1, 1))
    first = jax.nn.log_softmax(read(start, jnp.ones_like(start))[:, 0, 0])[:, answer_ids[:, 1]]
    first, candidates = jax.lax.top_k(first, k)

    def loss(some: Int[Array, "B c"]) -> Float[Array, "B c"]:
        ids, mask = answer_ids[some], answer_mask[some]
        return answer_losses(read(ids, mask), ids, mask, None, 0.0)

    scores = first - _in_chunks(loss, candidates)
    scores, order = jax.lax.top_k(scores, k)
    places = jnp.take_along_axis(candidates, order, axis=1)
    return Ranked(places, jax.nn.softmax(scores, axis=1), scores)


def _in_chunks(
    loss: Callable[[Int[Array, "B c"]], Float[Array, "B c"]], candidates: Int[Array, "B K"]
) -> Float[Array, "B K"]:
    """The losses of all candidates, some at a time: logits of all would fill gigabytes."""
    count = candidates.shape[1]
    if count <= CHUNK:
        return loss(candidates)
    # The last chunk is filled up with the last candidate.
    padded = jnp.pad(candidates, ((0, 0), (0, -count % CHUNK)), mode="edge")
    chunks = jnp.moveaxis(padded.reshape(len(padded), -1, CHUNK), 1, 0)
    losses = jnp.moveaxis(jax.lax.map(loss, chunks), 0, 1)
    return losses.reshape(len(losses), -1)[:, :count]


class Generated(NamedTuple):
    """The best answer of each question and its log-likelihood."""

    answer_ids: Int[Array, "B T"]
    score: Float[Array, " B"]


def generate(
    config: ModelConfig,
    params: Params,
    states: Float[Array, "B S D"],
    question_mask: Int[Array, "B S"],
    *,
    start: int,
    end: int,
    length: int,
    beams: int,
) -> Generated:
    """Beam search for the likeliest answer; one beam is greedy.

    Args:
        start, end: ids of [CLS] and [SEP].
        length: T, of the longest answer, [CLS] and [SEP] included; a longer one is cut.
    """
    batch = len(states)
    ids = jnp.full((batch, beams, length), end).at[:, :, 0].set(start)
    # All beams start equal: only the first may branch.
    scores = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf) + jnp.zeros((batch, 1))
    done = jnp.zeros((batch, beams), bool)
    past = nothing_yet(config, batch, beams, length)
    question = question_keys_values(config, params, states)

    def extend(position: Array, carry):
        ids, scores, done, past = carry
        token = jax.lax.dynamic_index_in_dim(ids, position - 1, axis=2, keepdims=False)
        logits, past = decode_next(
            config, params, token, position - 1, past, question, question_mask
        )
        steps = jax.nn.log_softmax(logits)
        vocab = steps.shape[-1]
        # A finished answer continues with [SEP] at no cost.
        stay = jnp.where(jnp.arange(vocab) == end, 0.0, -jnp.inf)
        steps = jnp.where(done[..., None], stay, steps)
        total = (scores[..., None] + steps).reshape(batch, -1)
        scores, flat = jax.lax.top_k(total, beams)
        beam, token = flat // vocab, flat % vocab
        ids = jnp.take_along_axis(ids, beam[..., None], axis=1)
        ids = ids.at[:, :, position].set(token)
        if beams > 1:
            past = past.of_rows(beam)
        return ids, scores, token == end, past  # a finished beam continues with `end` alone

    ids, scores, *_ = jax.lax.fori_loop(1, length, extend, (ids, scores, done, past))
    return Generated(ids[:, 0], scores[:, 0])


@dataclass(frozen=True)
class Answerer:
    """Compiled once: images and questions to answers.

    Attributes:
        answers: the list to rank, token ids and mask `[A, T]`; None to generate.
        k: candidates that are ranked.
        special: ids of [CLS] and [SEP].
    """

    config: ModelConfig
    answers: tuple[np.ndarray, np.ndarray] | None
    k: int
    beams: int
    length: int
    special: tuple[int, int]

    def compile(self):
        """A jitted `(params, batch) -> Ranked or Generated`; images are uint8."""
        return jax.jit(partial(_answer, self))


def _answer(answerer: Answerer, params: Params, batch: dict[str, Array]) -> Ranked | Generated:
    config, mask = answerer.config, batch["text_mask"]
    states = fuse_pairs(config, params, normalize(batch["image"]), batch["text_ids"], mask)
    if answerer.answers is not None:
        ids, answer_mask = map(jnp.asarray, answerer.answers)
        return rank(config, params, states, mask, ids, answer_mask, min(answerer.k, len(ids)))
    start, end = answerer.special
    return generate(
        config,
        params,
        states,
        mask,
        start=start,
        end=end,
        length=answerer.length,
        beams=answerer.beams,
    )
