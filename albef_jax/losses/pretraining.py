"""The pre-training objective: ITC + MLM + ITM with momentum distillation (paper section 3).

The student reads each image once and each layer's image keys and values once: its four fusion
passes (true pair, negative text, masked text, negative image) are the four rows of one call, and
clean and masked captions are one text call. The last fusion layer computes class tokens and masked
tokens only, the vocabulary head masked tokens only. The numbers are those of the official separate
passes.
Shape letters: B pairs in G groups of g, T text tokens, C slots for masked tokens, E embed_dim,
D text width, N image tokens, Q queue length, V vocabulary.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.losses import masked_lm
from albef_jax.losses.contrastive import Contrast, itc_loss, similarities
from albef_jax.losses.distillation import mixed_cross_entropy
from albef_jax.losses.masked_lm import BERT_TOKENS, MaskedText, Positions, SpecialTokens
from albef_jax.losses.matching import Negatives, Noise, choose_negatives, exclude_self, itm_loss
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.bert import take_in_group
from albef_jax.models.config import ModelConfig
from albef_jax.models.token_selection import TokenSelection

LOSSES = ("itc", "mlm", "itm")


@dataclass(frozen=True)
class Recipe:
    """The objective's hyper-parameters.

    Attributes:
        contrast_group: pairs that are each other's in-batch keys and negatives (official code: 64).
        mlm_probability: share of tokens to predict.
        special: ids that masking must know.
        losses: those of `LOSSES` that are trained; the others are only measured.
    """

    contrast_group: int = 64
    mlm_probability: float = 0.15
    special: SpecialTokens = BERT_TOKENS
    losses: tuple[str, ...] = LOSSES


class Inputs(NamedTuple):
    """One batch: normalised images, captions, and the captions with masked tokens."""

    image: Float[Array, "B H W 3"]
    text_ids: Int[Array, "B T"]
    text_mask: Int[Array, "B T"]
    masked: MaskedText


class Keys(NamedTuple):
    """Features of the queue, before this batch enters it."""

    image: Float[Array, "Q E"]
    text: Float[Array, "Q E"]


class Teacher(NamedTuple):
    """What the momentum teacher says of a batch; no gradient flows into it."""

    image_embeds: Float[Array, "B N D"]
    image_feat: Float[Array, "B E"]
    text_feat: Float[Array, "B E"]
    mlm_logits: Float[Array, "G C V"]


class Student(NamedTuple):
    """Everything the student computes on the way to the loss."""

    image_embeds: Array
    text_embeds: Array
    image_feat: Array
    text_feat: Array
    contrast: Contrast
    teacher_contrast: Contrast
    negatives: Negatives
    fused_cls: Array
    itm_logits: Array
    mlm_logits: Array


def pack_masked(recipe: Recipe, inputs: Inputs) -> Positions:
    """Slots for the masked tokens of each contrast group."""
    batch, length = inputs.text_ids.shape
    slots = masked_lm.capacity(recipe.contrast_group * length, recipe.mlm_probability)
    return masked_lm.pack_selected(inputs.masked.selected, batch // recipe.contrast_group, slots)


def teacher_forward(
    config: ModelConfig,
    params: Params,
    inputs: Inputs,
    positions: Positions,
    dropout_key: Array | None,
) -> Teacher:
    """Features of both sides, and vocabulary logits at the masked tokens."""
    text_key, fusion_key = albef.split_key(dropout_key)
    image_embeds = albef.encode_image(config, params, inputs.image)
    clean, masked = _encode_both_texts(config, params, inputs, text_key)
    read = albef.fuse_and_read(
        config,
        params,
        masked[:, None],
        inputs.text_mask[:, None],
        image_embeds,
        TokenSelection(positions.token, positions.slot),
        dropout_key=fusion_key,
    )
    teacher = Teacher(
        image_embeds,
        albef.image_feature(params, image_embeds),
        albef.text_feature(params, clean),
        albef.mlm_logits(config, params, read),
    )
    return jax.lax.stop_gradient(teacher)


def _encode_both_texts(
    config: ModelConfig, params: Params, inputs: Inputs, dropout_key: Array | None
) -> tuple[Array, Array]:
    """Clean and masked captions `[B, T, D]` each, in one call, neighbours in the batch so that a
    sharded batch stays where it is."""
    batch, length = inputs.text_ids.shape
    ids = jnp.stack([inputs.text_ids, inputs.masked.text_ids], axis=1).reshape(-1, length)
    mask = jnp.repeat(inputs.text_mask, 2, axis=0)
    embeds = albef.encode_text(config, params, ids, mask, dropout_key)
    embeds = embeds.reshape(batch, 2, length, -1)
    return embeds[:, 0], embeds[:, 1]


def _contrast(image_feat, text_feat, teacher: Teacher, keys: Keys, temperature, groups) -> Contrast:
    return Contrast(
        similarities(image_feat, teacher.text_feat, keys.text, temperature, groups),
        similarities(text_feat, teacher.image_feat, keys.image, temperature, groups),
    )


def student_forward(
    config: ModelConfig,
    recipe: Recipe,
    params: Params,
    inputs: Inputs,
    positions: Positions,
    teacher: Teacher,
    keys: Keys,
    negatives: Negatives | Noise,
    dropout_key: Array | None,
) -> Student:
    """All the student's outputs.

    Args:
        negatives: the hard negatives to use, or the noise to draw them with.
    """
    text_key, fusion_key = albef.split_key(dropout_key)
    groups = len(inputs.text_ids) // recipe.contrast_group
    temperature = params["temperature"]
    image_embeds = albef.encode_image(config, params, inputs.image)
    clean, masked = _encode_both_texts(config, params, inputs, text_key)
    image_feat = albef.image_feature(params, image_embeds)
    text_feat = albef.text_feature(params, clean)
    contrast = _contrast(image_feat, text_feat, teacher, keys, temperature, groups)
    if not isinstance(negatives, Negatives):
        excluded = exclude_self(groups, recipe.contrast_group)
        negatives = choose_negatives(
            negatives, contrast.text_to_image.group, contrast.image_to_text.group, excluded
        )
    fused_cls, fused_masked = _fuse_four(
        config, params, inputs, positions, clean, masked, image_embeds, negatives, fusion_key
    )
    return Student(
        image_embeds,
        clean,
        image_feat,
        text_feat,
        contrast,
        _contrast(teacher.image_feat, teacher.text_feat, teacher, keys, temperature, groups),
        negatives,
        fused_cls,
        albef.itm_logits(params, fused_cls),
        albef.mlm_logits(config, params, fused_masked),
    )


def _reading(positions: Positions, length: int) -> TokenSelection:
    """Of the four rows of `_fuse_four`: class tokens of rows 0, 3 and 1, then masked tokens."""
    groups, size = len(positions.slot), positions.slot.shape[1] // length
    place = jnp.arange(size * 4 * length).reshape(size, 4, length)
    matches = place[:, (0, 3, 1), 0].reshape(-1)
    masked = place[:, 2].reshape(-1)[positions.token]
    token = jnp.concatenate([jnp.tile(matches, (groups, 1)), masked], axis=1)

    def match(number: int) -> Array:
        own = 3 * jnp.arange(size) + number
        return jnp.broadcast_to(own[:, None], (groups, size, length))

    masked_slot = len(matches) + positions.slot.reshape(groups, size, length)
    slot = jnp.stack([match(0), match(2), masked_slot, match(1)], axis=2)
    return TokenSelection(token, slot.reshape(groups, -1))


def _fuse_four(
    config,
    params,
    inputs: Inputs,
    positions: Positions,
    clean,
    masked,
    image_embeds,
    negatives: Negatives,
    dropout_key,
) -> tuple[Float[Array, "B 3 D"], Float[Array, "G C D"]]:
    """Rows: the pair; the negative text with the image; the masked text with the image; the
    text with its negative image.

    Returns:
        Class tokens of pair, negative image and negative text, and masked tokens.
    """
    negative_text = take_in_group(clean, negatives.text)
    negative_mask = take_in_group(inputs.text_mask, negatives.text)
    mask = inputs.text_mask
    batch, length, width = clean.shape
    read = albef.fuse_and_read(
        config,
        params,
        jnp.stack([clean, negative_text, masked, clean], axis=1),
        jnp.stack([mask, negative_mask, mask, mask], axis=1),
        image_embeds,
        _reading(positions, length),
        swapped=negatives.image,
        dropout_key=dropout_key,
    )
    matches, masked_tokens = jnp.split(read, [3 * batch // len(read)], axis=1)
    return matches.reshape(batch, 3, width), masked_tokens


def mlm_loss(
    logits: Float[Array, "G C V"],
    labels: Int[Array, "G C"],
    used: Array,
    teacher_logits: Float[Array, "G C V"],
    alpha: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """Mean over the masked tokens (paper equations 3 and 7); 0 when there are none."""
    hard = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    losses = mixed_cross_entropy([logits], hard, [teacher_logits], alpha)
    return jnp.sum(jnp.where(used, losses, 0.0)) / jnp.maximum(jnp.sum(used), 1)


def losses(
    student: Student,
    teacher: Teacher,
    inputs: Inputs,
    positions: Positions,
    alpha: Float[Array, ""] | float,
    mlm_weight: Float[Array, ""] | float = 1.0,
    trained: tuple[str, ...] = LOSSES,
) -> dict[str, Float[Array, ""]]:
    """The three losses, and `itm_accuracy`, `itc_accuracy`, `mlm_overflow`; `loss` is the sum of
    those that are trained (paper equation 5).

    Args:
        mlm_weight: makes the mean over equal parts of a batch that of the batch, where parts have
            unequal numbers of masked tokens; the other losses need none.
    """
    itc = itc_loss(student.contrast, student.teacher_contrast, alpha)
    labels = masked_lm.gather(inputs.text_ids, positions)
    mlm = mlm_loss(student.mlm_logits, labels, positions.used, teacher.mlm_logits, alpha)
    mlm = mlm * mlm_weight
    positive, negative_image, negative_text = jnp.moveaxis(student.itm_logits, 1, 0)
    itm = itm_loss(positive, negative_image, negative_text, student.negatives.valid.reshape(-1))
    nearest = jnp.argmax(student.contrast.image_to_text.group, axis=-1)
    terms = {"itc": itc, "mlm": mlm, "itm": itm.loss}
    return {
        "loss": reduce(add, [terms[name] for name in LOSSES if name in trained]),
        "loss_itc": itc,
        "loss_mlm": mlm,
        "loss_itm": itm.loss,
        "itm_accuracy": itm.accuracy,
        "itc_accuracy": jnp.mean(nearest == jnp.arange(nearest.shape[-1])),
        "mlm_overflow": jnp.sum(positions.overflow),
        "pairs_without_negative": jnp.sum(~student.negatives.valid),
    }
