"""Images: found, decoded, resized and augmented."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "TrainTransform": "augment",
        "EvalTransform": "augment",
        "resize_for_eval": "decode",
        "of_array": "rgb",
        "of_pil": "rgb",
    },
)
