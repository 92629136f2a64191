"""Scene graphs: sampled, changed, and the facts that hold in them."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "sample_scene": "sample",
        "Scene": "graph",
        "SceneObject": "graph",
        "HELD_OUT": "sample",
    },
)
