"""The configuration: options with their defaults, recipes, file patterns."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "default": "defaults",
        "recipe": "defaults",
        "use_preset": "defaults",
        "use_small_world": "defaults",
        "model_config": "defaults",
        "task_spec": "tasks",
    },
)
