"""Encodes a collection of images or captions into shards of features."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "embed": "encoding",
        "open_features": "shards",
    },
)
