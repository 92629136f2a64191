"""Metrics, profiles and operation counts of a run."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "open_writers": "metrics",
        "read_lines": "metrics",
        "PretrainingFlops": "flops",
        "Profile": "profiler",
        "ProfileWindow": "profile_window",
    },
)
