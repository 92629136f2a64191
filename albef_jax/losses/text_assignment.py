"""Text assignment, the pre-training for two images (paper section 5, NLVR2).

Given a text and two images, say which one it belongs to: the first, the second, or neither, a
third of the time each.
Shape letters: B pairs in G groups of g, T text tokens, N image tokens, E width, C classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.losses.classification import distilled_loss
from albef_jax.losses.matching import exclude_self
from albef_jax.models import albef
from albef_jax.models.albef import Images, Params
from albef_jax.models.classifiers import assignment_logits
from albef_jax.models.config import ModelConfig
from albef_jax.models.take_rows import take_in_group
from albef_jax.models.two_image_fusion import fuse_pair

# Of the similarities that negatives are drawn by; not the learnt one (LEDGER, NLVR).
TEMPERATURE = 0.07
FIRST, SECOND, NEITHER = range(3)


class Assignment(NamedTuple):
    """For each text the positions in its group of the two images shown, and the answer."""

    first: Int[Array, "G g"]
    second: Int[Array, "G g"]
    label: Int[Array, "G g"]


def image_similarities(image_feat: Float[Array, "B E"], groups: int) -> Float[Array, "G g g"]:
    """Similarities of images within a group, as logits."""
    feat = image_feat.reshape(groups, -1, image_feat.shape[-1])
    return jnp.einsum("gie,gje->gij", feat, feat) / TEMPERATURE


class Draws(NamedTuple):
    """All the randomness of an assignment, so that a part of the groups draws as the whole would.

    Attributes:
        gumbel: noise for every candidate.
        kept, comes_first: whether a text's own image is shown, and on which side.
    """

    gumbel: Float[Array, "G g g"]
    kept: Bool[Array, "G g"]
    comes_first: Bool[Array, "G g"]


def draw(key: Array, groups: int, size: int) -> Draws:
    """Draw for each text of `groups` groups; its own image is shown two times in three."""
    noise_key, kept_key, order_key = jax.random.split(key, 3)
    return Draws(
        jax.random.gumbel(noise_key, (groups, size, size)),
        jax.random.uniform(kept_key, (groups, size)) > 1 / 3,
        jax.random.uniform(order_key, (groups, size)) > 0.5,
    )


def choose_assignment(draws: Draws, logits: Float[Array, "G g g"]) -> Assignment:
    """What each text is shown.

    Negatives are drawn without replacement in proportion to `exp(logits)`, the own image
    excluded: the two largest of the logits with Gumbel noise.
    """
    groups, size, _ = logits.shape
    # The noise is of order 1, and would round away beside huge logits.
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    noisy = logits + draws.gumbel
    noisy = jnp.where(exclude_self(groups, size), -jnp.inf, noisy)
    negatives = jax.lax.top_k(noisy, 2)[1]
    own = jnp.broadcast_to(jnp.arange(size), (groups, size))
    one, other = negatives[..., 0], negatives[..., 1]
    label = jnp.where(draws.kept, jnp.where(draws.comes_first, FIRST, SECOND), NEITHER)
    return Assignment(
        jnp.where(label == FIRST, own, one),
        jnp.where(label == FIRST, one, jnp.where(label == SECOND, own, other)),
        label,
    )


def forward(
    config: ModelConfig,
    contrast_group: int,
    params: Params,
    image: Images,
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    assignment: Assignment | Draws,
    dropout_key: Array | None,
) -> tuple[Float[Array, "B C"], Assignment, Float[Array, "G g g"]]:
    """Logits, what was shown, and the images' similarities.

    Args:
        assignment: what to show, or the random draws to choose it with.
    """
    text_key, fusion_key = albef.split_key(dropout_key)
    groups = len(text_ids) // contrast_group
    image_embeds = albef.encode_image(config, params, image)
    feat = albef.image_feature(params, image_embeds)
    similarities = jax.lax.stop_gradient(image_similarities(feat, groups))
    if not isinstance(assignment, Assignment):
        assignment = choose_assignment(assignment, similarities)
    text_embeds = albef.encode_text(config, params, text_ids, text_mask, text_key)
    first, second = (take_in_group(image_embeds, index) for index in assignment[:2])
    fused = fuse_pair(config, params, text_embeds, text_mask, first, second, fusion_key)
    return assignment_logits(params, fused[:, 0]), assignment, similarities


@dataclass(frozen=True)
class TextAssignmentLoss(Loss):
    """Cross-entropy over first, second and neither, on a batch of pairs."""

    model: ModelConfig
    contrast_group: int

    def decide(self, keys: dict[str, jax.Array], batch: Batch) -> Draws:
        """Draw what each text is shown."""
        groups = len(batch["text_ids"]) // self.contrast_group
        return draw(keys["decisions"], groups, self.contrast_group)

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        """Without distillation, as officially."""
        batch = inputs.batch
        logits, assignment, similarities = forward(
            self.model,
            self.contrast_group,
            params,
            batch["image"],
            batch["text_ids"],
            batch["text_mask"],
            inputs.random.decisions,
            inputs.random.student_dropout,
        )
        metrics = distilled_loss(logits, assignment.label.reshape(-1), None, 0.0)
        aux = {"logits": logits, "assignment": assignment, "similarities": similarities}
        return LossOutput(metrics, aux=aux)
