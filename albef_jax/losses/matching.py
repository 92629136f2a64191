"""Image-text matching (ITM) with in-batch hard negatives (paper section 3.2).

A negative is drawn from the pair's contrast group with the softmax of the contrastive similarities
as its probability, the pair itself excluded. Taking the largest of the logits, -inf at excluded
places, plus Gumbel noise is the same distribution as the official multinomial, and cannot fail.
Shape letters: G groups of g pairs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num


class Negatives(NamedTuple):
    """For each pair, the position in its group of its negatives, and whether it has any.

    Attributes:
        image: the image drawn for each text.
        text: the text drawn for each image.
        valid: False where the whole group is excluded; such pairs train on their positive alone.
    """

    image: Int[Array, "G g"]
    text: Int[Array, "G g"]
    valid: Bool[Array, "G g"]


def exclude_self(groups: int, size: int) -> Bool[Array, "G g g"]:
    """The exclusions of pre-training: a pair is no negative of itself."""
    return jnp.broadcast_to(jnp.eye(size, dtype=bool), (groups, size, size))


class Noise(NamedTuple):
    """All the randomness of a draw, so that a part of the groups draws as the whole would."""

    image: Float[Array, "G g g"]
    text: Float[Array, "G g g"]


def draw_noise(key: Array, groups: int, size: int) -> Noise:
    """Gumbel noise for every candidate."""
    return Noise(*(jax.random.gumbel(part, (groups, size, size)) for part in jax.random.split(key)))


def choose_negatives(
    noise: Noise,
    text_to_image: Float[Array, "G g g"],
    image_to_text: Float[Array, "G g g"],
    excluded: Bool[Array, "G g g"],
) -> Negatives:
    """One negative image a text and one negative text an image.

    Args:
        text_to_image, image_to_text: student similarities within the group, row = query.
        excluded: pairs that are no negatives of each other (symmetric).
    """

    def one(noise: Array, logits: Array) -> Array:
        # The noise is of order 1, and would round away beside huge logits.
        logits = logits - jnp.max(logits, axis=-1, keepdims=True)
        return jnp.argmax(noise + jnp.where(excluded, -jnp.inf, logits), axis=-1)

    return Negatives(
        one(noise.image, jax.lax.stop_gradient(text_to_image)),
        one(noise.text, jax.lax.stop_gradient(image_to_text)),
        ~jnp.all(excluded, axis=-1),
    )


def count_matches(image_id: Int[Array, " B"], size: int) -> Float[Array, ""]:
    """The number of ITM examples: every pair, and two negatives where its group has another image.

    Args:
        size: of a contrast group.
    """
    grouped = image_id.reshape(-1, size)
    alone = jnp.all(grouped[:, :, None] == grouped[:, None], axis=-1)
    return grouped.size + 2 * jnp.sum(~alone).astype(jnp.float32)


class Matching(NamedTuple):
    """The loss and how often the head is right, over the same examples."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]


def itm_loss(
    positive: Float[Array, "B 2"],
    negative_image: Float[Array, "B 2"],
    negative_text: Float[Array, "B 2"],
    valid: Bool[Array, " B"],
    total: Num[Array, ""] | None = None,
) -> Matching:
    """Mean cross-entropy over the positives and both kinds of valid negatives.

    Args:
        total: what sums are divided by, by default the number of positives and valid negatives.
    """
    # Side by side, not one after the other: rows stay on their devices.
    logits = jnp.stack([positive, negative_image, negative_text], axis=1)
    labels = jnp.array([1, 0, 0])
    weights = jnp.stack([jnp.ones_like(valid), valid, valid], axis=1).astype(jnp.float32)
    likelihoods = jax.nn.log_softmax(logits)
    losses = -jnp.stack([likelihoods[:, 0, 1], likelihoods[:, 1, 0], likelihoods[:, 2, 0]], axis=1)
    correct = (jnp.argmax(logits, axis=-1) == labels) * weights
    total = jnp.sum(weights) if total is None else total
    return Matching(jnp.sum(losses * weights) / total, jnp.sum(correct) / total)
