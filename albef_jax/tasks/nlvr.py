"""NLVR2: is a sentence true of two images."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from albef_jax.config.option_groups import distillation_options, finetune_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.build import open_two_images
from albef_jax.data.examples import TwoImageExamples
from albef_jax.data.records import TRUTH
from albef_jax.models.classifiers import nlvr_logits
from albef_jax.tasks.shared.judged_sentences import Classification


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    finetune_options(config, batch_size=128, epochs=10, lr=2e-5)
    distillation_options(config)
    config.data.text_len = 40
    # The official teacher is copied before the checkpoint is loaded; student: after.
    config.init.teacher = "official"
    config.checkpoint.best = "accuracy"


class Nlvr(Classification):
    """Two images a sentence, two classes."""

    example = TwoImageExamples
    logits = staticmethod(nlvr_logits)
    classes = TRUTH

    def open_train(self) -> Any:
        """The training sentences."""
        return open_two_images(self.config, "train")[0]

    def open_eval(self) -> tuple[Any, str]:
        """The held-out sentences."""
        return open_two_images(self.config, "eval")

    def row_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """With two images."""
        rows = super().row_shapes()
        image = rows["image"]
        return rows | {"image": jax.ShapeDtypeStruct((2, *image.shape), image.dtype)}

    def blank_images(self, blank: np.ndarray) -> np.ndarray:
        """Two of them."""
        return np.stack([blank, blank])

    def shown(self, record: Any) -> tuple[np.ndarray, ...]:
        """Left and right."""
        return record.left, record.right


TASK = TaskSpec(model="nlvr", options=options, run=Nlvr, scores=("accuracy",))
