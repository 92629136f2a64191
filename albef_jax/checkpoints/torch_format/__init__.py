"""PyTorch's `.pth` format, read and written without PyTorch and without executing anything."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "read_pth": "reader",
        "read_state_dict": "reader",
        "write_pth": "writer",
    },
)
