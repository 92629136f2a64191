"""The pre-training loss: ITC + MLM + ITM with momentum distillation (paper section 3).

`teacher_forward` and `student_forward` compute, `losses` judges, `PretrainingLoss` is what the
train step calls. The models' part of the work is `models.joint_passes`.
Shape letters: B pairs in G groups of g, T text tokens, N image tokens, D width, E embed_dim,
Q queue length, C masked slots of a group, V vocabulary.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from albef_jax.losses import masked_lm
from albef_jax.losses.alignment import Alignment, Keys, align, alignment_losses
from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.losses.masked_lm import BERT_TOKENS, MaskedText, Positions, SpecialTokens, mlm_loss
from albef_jax.losses.matching import Negatives, Noise, count_matches, draw_noise
from albef_jax.models import albef
from albef_jax.models.albef import Images, Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.joint_passes import encode_clean_and_masked, fuse_matches_and_masked
from albef_jax.models.token_selection import TokenSelection

LOSSES = ("itc", "mlm", "itm")
DISTILLED = ("itc", "mlm")  # those that can learn from the teacher's soft targets


@dataclass(frozen=True)
class Recipe:
    """The objective's hyper-parameters.

    Attributes:
        contrast_group: pairs that are each other's in-batch keys and negatives (official code: 64).
        mlm_probability: share of tokens to predict.
        special: ids that masking must know.
        losses: those of `LOSSES` that are trained; the others are only measured.
        negatives: of ITM: `hard`, drawn by similarity, or `random`, drawn evenly.
        distilled: those of `DISTILLED` that learn from soft targets; the others have hard ones.
        same_image_positives: whether captions of one image are right answers to each other, as in
            retrieval. In the official pre-training they are negatives.
    """

    contrast_group: int = 64
    mlm_probability: float = 0.15
    special: SpecialTokens = BERT_TOKENS
    losses: tuple[str, ...] = LOSSES
    negatives: Literal["hard", "random"] = "hard"
    distilled: tuple[str, ...] = DISTILLED
    same_image_positives: bool = False


class Inputs(NamedTuple):
    """One batch: normalised images, captions, and the captions with masked tokens.

    With `image_id`, captions of one image are right answers to each other.
    """

    image: Images
    text_ids: Int[Array, "B T"]
    text_mask: Int[Array, "B T"]
    masked: MaskedText
    image_id: Int[Array, " B"] | None = None


Texts = tuple[Float[Array, "B T D"], Float[Array, "B T D"]]  # captions, and with masked words


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
    alignment: Alignment
    fused_cls: Array
    itm_logits: Array
    mlm_logits: Array


def pack_masked(recipe: Recipe, selected: Bool[Array, "B T"]) -> Positions:
    """Slots for the masked tokens of each contrast group."""
    batch, length = selected.shape
    slots = masked_lm.capacity(recipe.contrast_group * length, recipe.mlm_probability)
    return masked_lm.pack_selected(selected, batch // recipe.contrast_group, slots)


def encode_texts(
    config: ModelConfig, params: Params, inputs: Inputs, dropout_key: Array | None
) -> Texts:
    """Embeddings of the captions as they are and with masked words."""
    ids = inputs.text_ids, inputs.masked.text_ids
    return encode_clean_and_masked(config, params, *ids, inputs.text_mask, dropout_key)


def teacher_forward(
    config: ModelConfig,
    params: Params,
    inputs: Inputs,
    positions: Positions,
    dropout_key: Array | None,
    texts: Texts | None = None,
) -> Teacher:
    """Features of both sides, and vocabulary logits at the masked tokens.

    Args:
        texts: if they are known.
    """
    text_key, fusion_key = albef.split_key(dropout_key)
    image_embeds = albef.encode_image(config, params, inputs.image)
    clean, masked = texts or encode_texts(config, params, inputs, text_key)
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
        albef.text_feature(params, clean, albef.pooled_tokens(config, inputs.text_mask)),
        albef.mlm_logits(config, params, read),
    )
    return jax.lax.stop_gradient(teacher)


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
    texts: Texts | None = None,
) -> Student:
    """All the student's outputs.

    Args:
        negatives: the hard negatives to use, or the noise to draw them with.
        texts: if they are known.
    """
    text_key, fusion_key = albef.split_key(dropout_key)
    image_embeds = albef.encode_image(config, params, inputs.image)
    clean, masked = texts or encode_texts(config, params, inputs, text_key)
    image_feat = albef.image_feature(params, image_embeds)
    text_feat = albef.text_feature(params, clean, albef.pooled_tokens(config, inputs.text_mask))
    alignment = align(
        (image_feat, text_feat),
        (teacher.image_feat, teacher.text_feat),
        keys,
        params["temperature"],
        recipe.contrast_group,
        negatives,
        inputs.image_id,
        hard=recipe.negatives == "hard",
    )
    fused_cls, fused_masked = fuse_matches_and_masked(
        config,
        params,
        clean,
        masked,
        inputs.text_mask,
        image_embeds,
        TokenSelection(positions.token, positions.slot),
        alignment.negatives.image,
        alignment.negatives.text,
        fusion_key,
    )
    return Student(
        image_embeds,
        clean,
        image_feat,
        text_feat,
        alignment,
        fused_cls,
        albef.itm_logits(params, fused_cls),
        albef.mlm_logits(config, params, fused_masked),
    )


def losses(
    student: Student,
    teacher: Teacher,
    inputs: Inputs,
    positions: Positions,
    alpha: Float[Array, ""] | float,
    trained: tuple[str, ...] = LOSSES,
    masked_total: Num[Array, ""] | None = None,
    distilled: tuple[str, ...] = DISTILLED,
    matches_total: Num[Array, ""] | None = None,
) -> dict[str, Float[Array, ""]]:
    """The three losses, and `itm_accuracy`, `itc_accuracy`, `mlm_overflow`; `loss` is the sum of
    those that are trained (paper equation 5).

    Args:
        masked_total: number of masked tokens to divide MLM's sum by, by default those here: the
            micro-batches of a batch have unequal numbers of them.
        distilled: as in `Recipe`.
        matches_total: number of ITM examples to divide by, by default those here.
    """
    soft = {name: alpha if name in distilled else 0.0 for name in DISTILLED}
    aligned = alignment_losses(student.alignment, student.itm_logits, soft["itc"], matches_total)
    labels = masked_lm.gather(inputs.text_ids, positions)
    mlm = mlm_loss(
        student.mlm_logits, labels, positions.used, teacher.mlm_logits, soft["mlm"], masked_total
    )
    terms = {"itc": aligned["loss_itc"], "mlm": mlm, "itm": aligned["loss_itm"]}
    return {
        "loss": reduce(add, [terms[name] for name in LOSSES if name in trained]),
        "loss_mlm": mlm,
        "mlm_overflow": jnp.sum(positions.overflow),
        **aligned,
    }


class Decisions(NamedTuple):
    """The random decisions of a step: which tokens are masked, and the hard negatives.

    Attributes:
        negatives: those to use, or the noise to draw them with.
    """

    masked: MaskedText
    positions: Positions
    negatives: Negatives | Noise


@dataclass(frozen=True)
class PretrainingLoss(Loss):
    """ITC, MLM and ITM on a batch of `image`, `text_ids` and `text_mask`.

    Attributes:
        text_len: tokens of a text to draw the masking for, if batches may be narrower: what a token
            becomes does not depend on the padding. None for those of the batch.
    """

    model: ModelConfig
    recipe: Recipe
    text_len: int | None = None

    streams = ("mask", "negatives", "student_dropout", "teacher_dropout")
    temperature_range = (0.001, 0.5)

    @property
    def contrast_group(self) -> int:  # type: ignore[override]
        """Pairs that are each other's in-batch keys and negatives."""
        return self.recipe.contrast_group

    def decide(self, keys: dict[str, jax.Array], batch: Batch) -> Decisions:
        """Mask tokens, and draw the noise for hard negatives."""
        recipe, text_ids = self.recipe, batch["text_ids"]
        batch_size, width = text_ids.shape
        draws = masked_lm.draw_masking(
            keys["mask"],
            (batch_size, self.text_len or width),
            recipe.mlm_probability,
            self.model.vocab_size,
        )
        draws = masked_lm.MaskDraws(*(outcome[:, :width] for outcome in draws))
        masked = masked_lm.mask_text(text_ids, draws, recipe.special)
        groups = len(text_ids) // recipe.contrast_group
        return self.given(masked, draw_noise(keys["negatives"], groups, recipe.contrast_group))

    def given(self, masked: MaskedText, negatives: Negatives | Noise) -> Decisions:
        """Decisions that were made elsewhere, such as recorded ones."""
        return Decisions(masked, pack_masked(self.recipe, masked.selected), negatives)

    def totals(self, batch: Batch, decisions: Decisions) -> dict[str, Any]:
        """The number of masked tokens, and of ITM examples if not all pairs have negatives."""
        totals = {"masked": jnp.maximum(jnp.sum(decisions.positions.used), 1)}
        if self.recipe.same_image_positives:
            totals["matches"] = count_matches(batch["image_id"], self.contrast_group)
        return totals

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """The sum of the losses that are trained (paper equation 5)."""
        masked, positions, negatives = inputs.random.decisions
        batch, queue = inputs.batch, inputs.queue
        assert queue is not None
        ids = batch["image_id"] if self.recipe.same_image_positives else None
        pairs = Inputs(batch["image"], batch["text_ids"], batch["text_mask"], masked, ids)
        # A frozen text encoder is that of both, and has no dropout.
        frozen = self.model.frozen_text_layers == self.model.text_depth
        texts = encode_texts(self.model, params, pairs, None) if frozen else None
        teacher = teacher_forward(
            self.model, inputs.teacher, pairs, positions, inputs.random.teacher_dropout, texts
        )
        student = student_forward(
            self.model,
            self.recipe,
            params,
            pairs,
            positions,
            teacher,
            Keys(queue.image, queue.text, queue.image_id),
            negatives,
            inputs.random.student_dropout,
            texts,
        )
        metrics = losses(
            student,
            teacher,
            pairs,
            positions,
            inputs.alpha,
            self.recipe.losses,
            inputs.totals["masked"],
            self.recipe.distilled,
            inputs.totals.get("matches"),
        )
        metrics["temperature"] = params["temperature"]
        features = teacher.image_feat, teacher.text_feat
        return LossOutput(metrics, features, {"student": student, "teacher": teacher})
