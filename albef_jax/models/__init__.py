"""The network as functions of parameters. Flax stays in here."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "ModelConfig": "config",
        "preset": "config",
        "encode_image": "albef",
        "encode_text": "albef",
        "fuse_pairs": "albef",
        "init": "task_models",
    },
)
