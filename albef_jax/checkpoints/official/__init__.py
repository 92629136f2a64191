"""The official code's parameter names and files."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "from_official": "state_dict",
        "to_official": "state_dict",
        "TABLES": "name_table",
        "read_weights": "weights_file",
        "write_weights": "weights_file",
    },
)
