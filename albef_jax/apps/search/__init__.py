"""Searches images by text and texts by image: an index, its files, contact sheets."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Index": "index",
        "build_index": "index",
        "open_index": "index",
        "items_of": "items",
    },
)
