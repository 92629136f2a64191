"""Checks data sets, and packs any source of pairs into ArrayRecord shards with a manifest."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "pack": "packing",
        "check": "checking",
        "Plan": "plan",
        "PackingError": "plan",
    },
)
