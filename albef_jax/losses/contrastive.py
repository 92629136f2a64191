"""Image-text contrast (ITC) against the teacher's features of the group and of the queue.

Paper equations 1, 2 and 6. The in-batch keys of a pair are those of its contrast group only (the
official per-GPU batch), so that results do not depend on how many devices share the batch.
Shape letters: B pairs in G groups of g, Q queue length, E embed_dim.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from albef_jax.losses.distillation import mixed_cross_entropy


class Similarities(NamedTuple):
    """Scaled cosine similarities of each query to its group's keys and to the queue."""

    group: Float[Array, "G g g"]
    queue: Float[Array, "G g Q"]


class Contrast(NamedTuple):
    """Both directions: image to text and text to image."""

    image_to_text: Similarities
    text_to_image: Similarities


def similarities(
    query: Float[Array, "B E"],
    keys: Float[Array, "B E"],
    queue: Float[Array, "Q E"],
    temperature: Float[Array, ""],
    groups: int,
) -> Similarities:
    """Logits of `query` against `keys` of its group and against the queue."""
    query, keys = (x.reshape(groups, -1, x.shape[-1]) for x in (query, keys))
    return Similarities(
        jnp.einsum("gie,gje->gij", query, keys) / temperature,
        jnp.einsum("gie,qe->giq", query, queue) / temperature,
    )


class Positives(NamedTuple):
    """The correct keys of a query if there are several: captions of one image (retrieval)."""

    group: Bool[Array, "G g g"]
    queue: Bool[Array, "G g Q"]


def same_image(image_id: Int[Array, " B"], queue_id: Int[Array, " Q"], groups: int) -> Positives:
    """Keys with the query's image id; empty queue entries must match no query."""
    own = image_id.reshape(groups, -1)
    return Positives(own[:, :, None] == own[:, None], own[:, :, None] == queue_id)


def _hard_logit(logits: Similarities, positives: Positives | None) -> Float[Array, "G g"]:
    """The logit at the hard target; its mean where several keys share the target evenly."""
    if positives is None:
        return jnp.diagonal(logits.group, axis1=1, axis2=2)
    total, count = jnp.zeros(()), jnp.zeros(())
    for block, own in zip(logits, positives, strict=True):
        total = total + jnp.sum(jnp.where(own, block, 0), axis=-1)
        count = count + jnp.sum(own, axis=-1)
    return total / count


def itc_loss(
    student: Contrast,
    teacher: Contrast,
    alpha: Float[Array, ""] | float,
    positives: Positives | None = None,
) -> Float[Array, ""]:
    """Mean over both directions and all pairs; without `positives` a pair's own is the target."""
    ways = [
        mixed_cross_entropy(list(ours), _hard_logit(ours, positives), list(theirs), alpha)
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return (jnp.mean(ways[0]) + jnp.mean(ways[1])) / 2


def nearest_is_right(ours: Similarities, positives: Positives | None) -> Float[Array, ""]:
    """Share of queries whose most similar key of the group is a right one."""
    nearest = jnp.argmax(ours.group, axis=-1, keepdims=True)
    if positives is None:
        return jnp.mean(nearest[..., 0] == jnp.arange(ours.group.shape[-1]))
    return jnp.mean(jnp.take_along_axis(positives.group, nearest, axis=-1))
