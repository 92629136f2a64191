"""Starts a run from another task's checkpoint, or from public BERT and ViT weights."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "transfer": "checkpoint",
        "warm_start_encoders": "encoders",
        "format_table": "report",
    },
)
