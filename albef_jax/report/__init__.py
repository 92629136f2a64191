"""The HTML report of a run, its charts and its examples."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "render": "rendering",
        "compare": "comparison",
        "read_runs": "runs",
        "draw": "charts",
    },
)
