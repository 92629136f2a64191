"""Visual entailment (SNLI-VE): does an image contradict a sentence, entail it, or neither."""

from typing import Any

import numpy as np

from albef_jax.data.build import open_sentences
from albef_jax.data.examples import SentenceExamples
from albef_jax.data.records import LABELS
from albef_jax.losses.classification import entailment_logits
from albef_jax.tasks.classify import Classification


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
