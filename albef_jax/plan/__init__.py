"""What a recipe needs of devices that are not there: memory, speed, hours, cores, disk."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Plan": "planned",
        "plan": "planned",
        "as_json": "told",
        "in_words": "told",
    },
)
