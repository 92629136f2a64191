"""Trained models: images and texts in, numpy out."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "load": "model",
        "Model": "model",
        "PromptClassifier": "prompts",
        "export_encoders": "export",
        "itm_scores": "rerank",
    },
)
