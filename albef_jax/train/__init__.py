"""State, optimizer, step and loop."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "StepConfig": "step",
        "TrainState": "state",
        "train_step": "step",
        "update": "step",
        "compile_step": "step",
        "adamw": "optimizer",
    },
)
