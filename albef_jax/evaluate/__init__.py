"""Metrics of trained models."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "evaluate": "retrieval",
        "judge": "accuracy",
        "soft_accuracy": "vqa_accuracy",
        "top_k": "top_k_accuracy",
        "of_unseen": "compositional",
    },
)
