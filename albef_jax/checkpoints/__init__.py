"""Saves, loads, converts and releases checkpoints."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Checkpoints": "manager",
        "Checkpoint": "load",
        "read_checkpoint": "load",
    },
)
