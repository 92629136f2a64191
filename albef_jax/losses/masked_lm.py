"""Masked language modelling: which tokens are masked, and with what; the loss (LEDGER, MLM).

Only padding and the class token are never masked; a masked token becomes [MASK] in 80 %, a random
word of the whole vocabulary in 10 %, and stays in 10 % of cases. Every random outcome is an
argument, so that recorded ones can be replayed.
Shape letters: B texts, T tokens, G groups, C slots of a group, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from albef_jax.losses.distillation import mixed_cross_entropy


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that masking must know."""

    pad: int = 0
    cls: int = 101
    mask: int = 103


BERT_TOKENS = SpecialTokens()


class MaskDraws(NamedTuple):
    """The random outcomes behind one masking, one entry a token."""

    selected: Bool[Array, "B T"]
    to_mask_token: Bool[Array, "B T"]
    to_random_word: Bool[Array, "B T"]
    random_words: Int[Array, "B T"]


class MaskedText(NamedTuple):
    """Corrupted ids, and where the original has to be predicted."""

    text_ids: Int[Array, "B T"]
    selected: Bool[Array, "B T"]


def draw_masking(
    key: Array, shape: tuple[int, ...], probability: float, vocab_size: int
) -> MaskDraws:
    """Draw the outcomes for `[B, T]` tokens, each selected with `probability`."""
    select, mask, random, words = jax.random.split(key, 4)
    return MaskDraws(
        jax.random.bernoulli(select, probability, shape),
        jax.random.bernoulli(mask, 0.8, shape),
        jax.random.bernoulli(random, 0.5, shape),
        jax.random.randint(words, shape, 0, vocab_size),
    )


def mask_text(text_ids: Int[Array, "B T"], draws: MaskDraws, special: SpecialTokens) -> MaskedText:
    """Apply drawn outcomes to a batch of texts."""
    selected = draws.selected & (text_ids != special.pad) & (text_ids != special.cls)
    masked = selected & draws.to_mask_token
    randomised = selected & ~draws.to_mask_token & draws.to_random_word
    ids = jnp.where(masked, special.mask, text_ids)
    ids = jnp.where(randomised, draws.random_words.astype(ids.dtype), ids)
    return MaskedText(ids, selected)


class Positions(NamedTuple):
    """Selected tokens of each group, packed into a fixed number of slots.

    Attributes:
        token: position of each slot's token in the group's `g * T` tokens, `[G, C]`.
        used: whether the slot holds a selected token, `[G, C]`.
        overflow: selected tokens that found no slot, of each group.
        slot: the inverse of `token`, any slot for a token without one, `[G, g * T]`.
    """

    token: Int[Array, "G C"]
    used: Bool[Array, "G C"]
    overflow: Int[Array, " G"]
    slot: Int[Array, "G S"]


def capacity(tokens: int, probability: float) -> int:
    """Slots for `tokens` tokens: the mean number selected plus six standard deviations.

    More are needed in less than one of 10^8 groups; `Positions.overflow` counts them.
    """
    spread = (tokens * probability * (1 - probability)) ** 0.5
    return min(tokens, int(tokens * probability + 6 * spread) + 1)


def pack_selected(selected: Bool[Array, "B T"], groups: int, slots: int) -> Positions:
    """Find the selected tokens of each group of `B / groups` texts, first ones first."""
    flat = selected.reshape(groups, -1)
    index = jnp.argsort(~flat, axis=1, stable=True)[:, :slots]
    used = jnp.take_along_axis(flat, index, axis=1)
    slot = jnp.clip(jnp.cumsum(flat, axis=1) - 1, 0, slots - 1)
    return Positions(index, used, jnp.sum(flat, axis=1) - jnp.sum(used, axis=1), slot)


def gather(x: Array, positions: Positions) -> Array:
    """The packed tokens of `x [B, T, ...]`: `[G, C, ...]`."""
    groups, slots = positions.token.shape
    grouped = x.reshape(groups, -1, *x.shape[2:])
    index = positions.token.reshape(groups, slots, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(grouped, index, axis=1)


def mlm_loss(
    logits: Float[Array, "G C V"],
    labels: Int[Array, "G C"],
    used: Array,
    teacher_logits: Float[Array, "G C V"],
    alpha: Float[Array, ""] | float,
    total: Num[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Mean over the masked tokens (paper equations 3 and 7); 0 when there are none.

    Args:
        total: what the sum is divided by, if it is not the number of tokens in use.
    """
    hard = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    losses = mixed_cross_entropy([logits], hard, [teacher_logits], alpha)
    total = jnp.maximum(jnp.sum(used), 1) if total is None else total
    return jnp.sum(jnp.where(used, losses, 0.0)) / total
