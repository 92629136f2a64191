"""A loss from a function, for tests of the step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from albef_jax.losses.base import Batch, Loss, LossInputs, LossOutput
from albef_jax.models.albef import Params


@dataclass(frozen=True)
class FunctionLoss(Loss):
    """Its decisions are the random key that was given for them."""

    function: Callable[[Params, LossInputs], LossOutput]

    def decide(self, keys: dict[str, jax.Array], batch: Batch) -> Any:
        return keys["decisions"]

    def __call__(self, params: Params, inputs: LossInputs) -> LossOutput:
        return self.function(params, inputs)
