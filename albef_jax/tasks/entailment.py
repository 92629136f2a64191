"""Visual entailment (SNLI-VE): does an image contradict a sentence, entail it, or neither."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from albef_jax.config.option_groups import distillation_options, finetune_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.build import open_sentences
from albef_jax.data.examples import SentenceExamples
from albef_jax.data.records import LABELS
from albef_jax.models.classifiers import entailment_logits
from albef_jax.tasks.shared.judged_sentences import Classification


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    finetune_options(config, batch_size=256, epochs=5, lr=2e-5)
    distillation_options(config, ramp=0.0)
    config.data.text_len = 40
    config.checkpoint.best = "accuracy"


class Entailment(Classification):
    """One image a sentence, three classes."""

    example = SentenceExamples
    logits = staticmethod(entailment_logits)
    classes = LABELS

    def open_train(self) -> Any:
        """The training sentences."""
        return open_sentences(self.config, "train")[0]

    def open_eval(self) -> tuple[Any, str]:
        """The held-out sentences."""
        return open_sentences(self.config, "eval")

    def shown(self, record: Any) -> tuple[np.ndarray, ...]:
        """The one image."""
        return (record.image,)


TASK = TaskSpec(model="entailment", options=options, run=Entailment, scores=("accuracy",))
