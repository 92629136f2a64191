"""Fine-tuning for retrieval and grounding: ITC with shared targets, and ITM (paper section 5).

As in pre-training without masked words, but captions of one image are right answers to each
other, in the contrast as well as among the negatives.
Shape letters: B pairs in G groups of g, T text tokens, E embed_dim, Q queue length.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Num

from albef_jax.losses.alignment import Alignment, Keys, align, alignment_losses
from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.losses.matching import Negatives, Noise, count_matches, draw_noise
from albef_jax.models import albef
from albef_jax.models.albef import Images, Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.joint_passes import fuse_matches


class Inputs(NamedTuple):
    """One batch: normalised images, captions, and which image each caption is of."""

    image: Images
    text_ids: Int[Array, "B T"]
    text_mask: Int[Array, "B T"]
    image_id: Int[Array, " B"]


class Teacher(NamedTuple):
    """The momentum teacher's features; no gradient flows into them."""

    image_feat: Float[Array, "B E"]
    text_feat: Float[Array, "B E"]


class Student(NamedTuple):
    """Everything the student computes on the way to the loss."""

    image_feat: Array
    text_feat: Array
    alignment: Alignment
    itm_logits: Array


def teacher_forward(
    config: ModelConfig, params: Params, inputs: Inputs, dropout_key: Array | None
) -> Teacher:
    """Features of both sides."""
    image_embeds = albef.encode_image(config, params, inputs.image)
    text_embeds = albef.encode_text(config, params, inputs.text_ids, inputs.text_mask, dropout_key)
    image_feat = albef.image_feature(params, image_embeds)
    pooled = albef.pooled_tokens(config, inputs.text_mask)
    text_feat = albef.text_feature(params, text_embeds, pooled)
    return jax.lax.stop_gradient(Teacher(image_feat, text_feat))


def student_forward(
    config: ModelConfig,
    contrast_group: int,
    params: Params,
    inputs: Inputs,
    teacher: Teacher,
    keys: Keys,
    negatives: Negatives | Noise,
    dropout_key: Array | None,
    hard: bool = True,
) -> Student:
    """All the student's outputs.

    Args:
        negatives: those to use, or the noise to draw them with.
        hard: draw negatives by similarity, not evenly.
    """
    text_key, fusion_key = albef.split_key(dropout_key)
    image_embeds = albef.encode_image(config, params, inputs.image)
    text_embeds = albef.encode_text(config, params, inputs.text_ids, inputs.text_mask, text_key)
    image_feat = albef.image_feature(params, image_embeds)
    pooled = albef.pooled_tokens(config, inputs.text_mask)
    text_feat = albef.text_feature(params, text_embeds, pooled)
    alignment = align(
        (image_feat, text_feat),
        (teacher.image_feat, teacher.text_feat),
        keys,
        params["temperature"],
        contrast_group,
        negatives,
        inputs.image_id,
        hard,
    )
    fused_cls = fuse_matches(
        config,
        params,
        text_embeds,
        inputs.text_mask,
        image_embeds,
        alignment.negatives.image,
        alignment.negatives.text,
        fusion_key,
    )
    return Student(image_feat, text_feat, alignment, albef.itm_logits(params, fused_cls))


def losses(
    student: Student,
    alpha: Float[Array, ""] | float,
    matches_total: Num[Array, ""] | None = None,
) -> dict[str, Any]:
    """The two losses, their sum `loss`, and how often each head is right.

    Args:
        matches_total: number of ITM examples to divide by, by default those here.
    """
    aligned = alignment_losses(student.alignment, student.itm_logits, alpha, matches_total)
    return {"loss": aligned["loss_itc"] + aligned["loss_itm"], **aligned}


@dataclass(frozen=True)
class RetrievalLoss(Loss):
    """ITC and ITM on a batch of `image`, `text_ids`, `text_mask` and `image_id`.

    Args:
        contrast_group: pairs that are each other's in-batch keys and negatives (official code: 32).
        negatives: of ITM: `hard`, drawn by similarity, or `random`, drawn evenly.
    """

    model: ModelConfig
    contrast_group: int
    negatives: Literal["hard", "random"] = "hard"

    def decide(self, keys: dict[str, jax.Array], batch: Batch) -> Noise:
        """Draw the noise for negatives."""
        groups = len(batch["text_ids"]) // self.contrast_group
        return draw_noise(keys["decisions"], groups, self.contrast_group)

    def totals(self, batch: Batch, decisions: Any) -> dict[str, Any]:
        """The number of ITM examples."""
        return {"matches": count_matches(batch["image_id"], self.contrast_group)}

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """The sum of both losses."""
        queue, random = inputs.queue, inputs.random
        assert queue is not None
        assert queue.image_id is not None
        pairs = Inputs(*(inputs.batch[name] for name in Inputs._fields))
        teacher = teacher_forward(self.model, inputs.teacher, pairs, random.teacher_dropout)
        student = student_forward(
            self.model,
            self.contrast_group,
            params,
            pairs,
            teacher,
            Keys(queue.image, queue.text, queue.image_id),
            random.decisions,
            random.student_dropout,
            hard=self.negatives == "hard",
        )
        metrics = losses(student, inputs.alpha, inputs.totals["matches"])
        metrics["temperature"] = params["temperature"]
        features = teacher.image_feat, teacher.text_feat
        return LossOutput(metrics, features, {"student": student, "teacher": teacher})
