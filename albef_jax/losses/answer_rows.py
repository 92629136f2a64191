"""Packs the answers of a batch into rows of the decoder, so that padding takes few of them.

Most questions have far fewer than the A answers that one may have. The g questions of a group share
the C rows of a decoder pass, which are enough for nearly every group. A group with more answers
makes all groups take a further pass, in the same program.
Shape letters: B questions in G groups of g, A answers a question at most, T tokens, C rows of a
group in a pass, P passes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DEVIATIONS = 3  # beyond the mean number of answers; some 1 in 1,000 groups has more


def rows_of_a_pass(mean: float, deviation: float, most: int, questions: int) -> int:
    """C for groups of so many questions.

    Args:
        mean, deviation: of the number of answers of a question; the standard deviation.
        most: answers of a question.
    """
    enough = questions * mean + DEVIATIONS * deviation * math.sqrt(questions)
    return min(math.ceil(enough), questions * most)


class Packed(NamedTuple):
    """Where each row's answer is.

    Attributes:
        place: among the `g * A` of the group, or -1. Answers come first, in order; what follows
            weighs nothing.
        passes: how many of the P hold an answer.
    """

    place: Int[Array, "P G C"]
    passes: Int[Array, ""]


def pack(weights: Float[Array, "B A"], questions: int, rows: int) -> Packed:
    """Pack the answers that weigh something.

    Args:
        questions: g, of a group.
        rows: C.
    """
    empty = weights.reshape(-1, questions * weights.shape[1]) == 0
    place = jnp.argsort(empty, axis=1, stable=True)
    passes = -(-place.shape[1] // rows)
    place = jnp.pad(place, ((0, 0), (0, passes * rows - place.shape[1])), constant_values=-1)
    place = jnp.swapaxes(place.reshape(len(empty), passes, rows), 0, 1)
    most = jnp.max(jnp.sum(~empty, axis=1))
    return Packed(place, -(-most // rows))


class AnswerRows(NamedTuple):
    """What the decoder reads in a pass, and what its answers weigh."""

    ids: Int[Array, "Q 1 T"]
    mask: Int[Array, "Q 1 T"]
    weights: Float[Array, "Q 1"]
    question_of: Int[Array, "G C"]


def rows_of_answers(batch: dict[str, Any], place: Int[Array, "G C"]) -> AnswerRows:
    """The Q = G * C rows of a pass, of a batch with `answer_ids`, `answer_mask` and
    `answer_weight`; those of place -1 weigh nothing."""
    groups = len(place)
    most = batch["answer_weight"].shape[1]

    def take(x: Array) -> Array:
        grouped = x.reshape(groups, -1, *x.shape[2:])
        index = jnp.maximum(place, 0).reshape(*place.shape, *(1,) * (x.ndim - 2))
        taken = jnp.take_along_axis(grouped, index, axis=1)
        return taken.reshape(-1, 1, *x.shape[2:])

    weights = jnp.where(place.reshape(-1, 1) < 0, 0, take(batch["answer_weight"]))
    ids, mask = take(batch["answer_ids"]), take(batch["answer_mask"])
    return AnswerRows(ids, mask, weights, jnp.maximum(place, 0) // most)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def sum_over_passes(
    term: Callable[[Array, Any, Any], Array], passes: Int[Array, ""], trained: Any, rest: Any
) -> Float[Array, ""]:
    """The sum of `term(number, trained, rest)` over passes 1 to `passes - 1`.

    The loop ends with the last pass that holds an answer. The backward pass computes each term
    again: what is kept of terms must have a fixed size, so it would be kept of all, needed or not.

    Args:
        term: of static parts alone, no arrays.
        trained: what has a gradient; `rest` has none.
    """

    def add(number: Array, total: Array) -> Array:
        return total + term(number, trained, rest)

    like = jax.eval_shape(term, jnp.int32(1), trained, rest)
    return jax.lax.fori_loop(1, passes, add, jnp.zeros(like.shape, like.dtype))


def _sum_forward(term, passes, trained, rest):
    return sum_over_passes(term, passes, trained, rest), (passes, trained, rest)


def _sum_backward(term, kept, gradient):
    passes, trained, rest = kept

    def add(number: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, jax.grad(term, argnums=1)(number, trained, rest))

    total = jax.lax.fori_loop(1, passes, add, jax.tree.map(jnp.zeros_like, trained))
    return None, jax.tree.map(lambda x: (gradient * x).astype(x.dtype), total), None


sum_over_passes.defvjp(_sum_forward, _sum_backward)
