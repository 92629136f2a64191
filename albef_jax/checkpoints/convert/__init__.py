"""Converts checkpoints between forms, describes them, and packs releases."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "convert": "conversion",
        "describe": "description",
        "Report": "conversion",
        "format_report": "conversion",
    },
)
