"""Answers to questions: ranking a list, or generating freely.

Shape letters: B questions, S question tokens, D text width, A answers in the list, K candidates,
T answer tokens, V vocabulary, W beams.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from albef_jax.losses.vqa import answer_losses
from albef_jax.models.albef import Params, fuse_pairs
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import decode
from albef_jax.models.primitives import normalize


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
    start = jnp.broadcast_to(answer_ids[0, 0], (len(states), 1, 1))
    logits = decode(config, params, start, jnp.ones_like(start), states, question_mask)
    first = jax.nn.log_softmax(logits[:, 0, 0])[:, answer_ids[:, 1]]
    first, candidates = jax.lax.top_k(first, k)
    ids, mask = answer_ids[candidates], answer_mask[candidates]
    logits = decode(config, params, ids, mask, states, question_mask)
    scores = first - answer_losses(logits, ids, mask, None, 0.0)
    scores, order = jax.lax.top_k(scores, k)
    places = jnp.take_along_axis(candidates, order, axis=1)
    return Ranked(places, jax.nn.softmax(scores, axis=1), scores)


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

    def extend(position: Array, carry):
        ids, scores, done = carry
        mask = jnp.broadcast_to(jnp.arange(length) < position, ids.shape).astype(jnp.int32)
        logits = decode(config, params, ids, mask, states, question_mask)
        logits = jax.lax.dynamic_index_in_dim(logits, position - 1, axis=2, keepdims=False)
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
        return ids, scores, token == end  # a finished beam continues with `end` alone

    ids, scores, _ = jax.lax.fori_loop(1, length, extend, (ids, scores, done))
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
