"""Sentences about scene graphs, one module a task."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {"statements": "captions", "ask": "questions", "refer": "referring"},
)
