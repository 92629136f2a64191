"""What pre-training and retrieval share: ITC, and the negatives of ITM that its similarities draw.

Shape letters: B pairs in G groups of g, E embed_dim, Q queue length.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from albef_jax.losses.base import Features
from albef_jax.losses.contrastive import (
    Contrast,
    Positives,
    itc_loss,
    nearest_is_right,
    same_image,
    similarities,
)
from albef_jax.losses.matching import (
    Negatives,
    Noise,
    choose_negatives,
    exclude_self,
    itm_loss,
)


class Keys(NamedTuple):
    """Features of the queue, before this batch enters it; ids if captions may share an image."""

    image: Float[Array, "Q E"]
    text: Float[Array, "Q E"]
    image_id: Int[Array, " Q"] | None = None


class Alignment(NamedTuple):
    """The two encoders' view of a batch.

    Attributes:
        contrast, teacher_contrast: similarities by the features of student and teacher.
        positives: the right keys of each query; None if that is its own alone.
        negatives: of ITM.
    """

    contrast: Contrast
    teacher_contrast: Contrast
    positives: Positives | None
    negatives: Negatives


def align(
    features: Features,
    teacher: Features,
    keys: Keys,
    temperature: Float[Array, ""],
    group: int,
    negatives: Negatives | Noise,
    image_id: Int[Array, " B"] | None = None,
    hard: bool = True,
) -> Alignment:
    """Compare features with those of the teacher, and choose negatives.

    Args:
        features, teacher: of images and of texts.
        group: pairs that are each other's keys and negatives.
        negatives: those to use, or the noise to draw them with.
        image_id: if given, captions of one image are right answers to each other.
        hard: draw negatives by similarity, not evenly.
    """
    groups = len(features[0]) // group

    def contrast(image_feat: Array, text_feat: Array) -> Contrast:
        return Contrast(
            similarities(image_feat, teacher[1], keys.text, temperature, groups),
            similarities(text_feat, teacher[0], keys.image, temperature, groups),
        )

    own, positives = contrast(*features), None
    if image_id is not None:
        assert keys.image_id is not None, "the queue keeps no image ids"
        positives = same_image(image_id, keys.image_id, groups)
    if not isinstance(negatives, Negatives):
        excluded = exclude_self(groups, group) if positives is None else positives.group
        likeness = own.text_to_image.group, own.image_to_text.group
        if not hard:
            likeness = jnp.zeros_like(likeness[0]), jnp.zeros_like(likeness[1])
        negatives = choose_negatives(negatives, *likeness, excluded)
    return Alignment(own, contrast(*teacher), positives, negatives)


def alignment_losses(
    alignment: Alignment,
    itm_logits: Float[Array, "B 3 2"],
    alpha: Float[Array, ""] | float,
    matches_total: Num[Array, ""] | None = None,
) -> dict[str, Float[Array, ""]]:
    """Both losses, and how often each head is right.

    Args:
        itm_logits: of each pair, of its text with the negative image, of its image with the
            negative text.
        matches_total: number of ITM examples to divide by, by default those here.
    """
    contrast, teacher_contrast, positives, negatives = alignment
    positive, negative_image, negative_text = jnp.moveaxis(itm_logits, 1, 0)
    valid = negatives.valid.reshape(-1)
    itm = itm_loss(positive, negative_image, negative_text, valid, matches_total)
    return {
        "loss_itc": itc_loss(contrast, teacher_contrast, alpha, positives),
        "loss_itm": itm.loss,
        "itm_accuracy": itm.accuracy,
        "itc_accuracy": nearest_is_right(contrast.image_to_text, positives),
        "pairs_without_negative": jnp.sum(~valid),
    }
