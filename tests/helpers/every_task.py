"""Every task's loss, and a batch for it."""

import jax
import numpy as np

from albef_jax.losses.classification import ClassificationLoss
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.losses.retrieval import RetrievalLoss
from albef_jax.losses.text_assignment import TextAssignmentLoss
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models import task_models
from albef_jax.models.classifiers import entailment_logits, nlvr_logits

GROUP, ROWS, LENGTH = 4, 16, 6
LOSSES = {
    "pretrain": lambda model: PretrainingLoss(model, Recipe(GROUP, 0.3)),
    "retrieval": lambda model: RetrievalLoss(model, GROUP),
    "entailment": lambda model: ClassificationLoss(model, entailment_logits),
    "nlvr": lambda model: ClassificationLoss(model, nlvr_logits),
    "nlvr_pretrain": lambda model: TextAssignmentLoss(model, GROUP),
    "vqa": VqaLoss,
}
CASES = {
    **LOSSES,
    "pretrain with image ids and mean pooling": lambda model: PretrainingLoss(
        model, Recipe(GROUP, 0.3, same_image_positives=True)
    ),
}


def batch_of(model: str, with_ids: bool = False) -> dict[str, np.ndarray]:
    """One group is of a single image, so that it has no negatives; answers differ in number."""
    rng = np.random.default_rng(0)
    images = (ROWS, 2) if model == "nlvr" else (ROWS,)
    text_ids = rng.integers(1, 100, (ROWS, LENGTH), np.int32)
    text_ids[:, 0] = 101
    lengths = rng.integers(2, LENGTH + 1, (ROWS, 1))
    mask = (np.arange(LENGTH) < lengths).astype(np.int32)
    batch = {
        "image": rng.integers(0, 256, (*images, 16, 16, 3), np.uint8),
        "text_ids": text_ids * mask,
        "text_mask": mask,
    }
    if with_ids:
        image_id = rng.integers(0, 9, ROWS, np.int32)
        image_id[GROUP : 2 * GROUP] = 3
        batch["image_id"] = image_id
    if model in ("entailment", "nlvr"):
        batch["label"] = rng.integers(0, task_models.MODELS[model].classes, ROWS, np.int32)
    if model == "vqa":
        answer_ids = rng.integers(1, 100, (ROWS, 2, 4), np.int32)
        answer_mask = (np.arange(4) < rng.integers(2, 5, (ROWS, 2, 1))).astype(np.int32)
        weight = rng.random((ROWS, 2)).astype(np.float32) * (rng.random((ROWS, 2)) < 0.7)
        batch |= {"answer_ids": answer_ids, "answer_mask": answer_mask, "answer_weight": weight}
    return batch


def padded(batch: dict[str, np.ndarray], width: int) -> dict[str, np.ndarray]:
    """The same texts with more padding."""
    more = (0, 0), (0, width - LENGTH)
    texts = {name: np.pad(batch[name], more) for name in ("text_ids", "text_mask")}
    return batch | texts


def precise(tree):
    def wide(leaf):
        return np.float64(leaf) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(wide, tree)
