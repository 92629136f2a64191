"""Image-text contrast (ITC) against the teacher's features of the group and of the queue.

Paper equations 1, 2 and 6. The in-batch keys of a pair are those of its contrast group only (the
published per-GPU batch), so that results do not depend on how many devices share the batch.
Shape letters: B pairs in G groups of g, Q queue length, E embed_dim.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from albef_jax.objectives.soft_targets import mixed_cross_entropy


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


def _direction(
    student: Similarities, teacher: Similarities, alpha: Float[Array, ""] | float
) -> Float[Array, "G g"]:
    positive = jnp.diagonal(student.group, axis1=1, axis2=2)
    return mixed_cross_entropy(list(student), positive, list(teacher), alpha)


def itc_loss(
    student: Contrast, teacher: Contrast, alpha: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Mean over both directions and all pairs; the pair itself is the hard target."""
    image_to_text = _direction(student.image_to_text, teacher.image_to_text, alpha)
    text_to_image = _direction(student.text_to_image, teacher.text_to_image, alpha)
    return (jnp.mean(image_to_text) + jnp.mean(text_to_image)) / 2
