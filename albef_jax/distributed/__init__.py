"""Several processes as one job: how they find each other, synchronise and end."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "joined": "initialize",
        "make_mesh": "mesh",
        "to_devices": "mesh",
        "fetch": "mesh",
        "print_on_main": "sync",
        "raise_on_all_processes": "sync",
    },
)
