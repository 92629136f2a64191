"""Scene graphs drawn as images."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "render": "rendering",
    },
)
