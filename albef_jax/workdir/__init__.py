"""A run's directory: its lock, configuration, data fingerprint and saved steps."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "open_workdir": "config_file",
        "locked": "lock",
        "check_data": "trained_on",
        "has_steps": "saved_steps",
    },
)
