"""Losses as pure functions of what the model computes."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Loss": "base",
        "LossInputs": "base",
        "LossOutput": "base",
        "PretrainingLoss": "pretraining",
        "RetrievalLoss": "retrieval",
        "VqaLoss": "vqa",
    },
)
