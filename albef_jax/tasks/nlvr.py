"""NLVR2: is a sentence true of two images."""

from typing import Any

import numpy as np

from albef_jax.data.build import open_two_images
from albef_jax.data.examples import TwoImageExamples
from albef_jax.data.records import TRUTH
from albef_jax.losses.classification import nlvr_logits
from albef_jax.tasks.classify import Classification


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

    def blank_images(self, blank: np.ndarray) -> np.ndarray:
        """Two of them."""
        return np.stack([blank, blank])

    def shown(self, record: Any) -> tuple[np.ndarray, ...]:
        """Left and right."""
        return record.left, record.right
