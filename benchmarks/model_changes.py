"""Changes of a model's configuration that a command line asks for, `option=value` each."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

from albef_jax.models.config import ModelConfig

DTYPES = ("float32", "bfloat16")
_TYPES = get_type_hints(ModelConfig)
_MULTIPLES = (
    ("image_size", "patch_size"),
    ("image_width", "image_heads"),
    ("text_width", "text_heads"),
)


def _value(option: str, text: str) -> Any:
    """The text as the option's type.

    Raises:
        ValueError: it is no such value.
    """
    choices = DTYPES if option == "dtype" else get_args(_TYPES[option])
    if choices:
        if text not in choices:
            raise ValueError(f"choose {' or '.join(choices)}")
        return text
    try:
        value = _TYPES[option](text)
    except ValueError:
        raise ValueError(
            f"is no {'number' if _TYPES[option] is float else 'whole number'}"
        ) from None
    if value < 0 or (value == 0 and "dropout" not in option):
        raise ValueError("must be positive")
    return value


def changed(model: ModelConfig, changes: Iterable[str]) -> ModelConfig:
    """The model with each change.

    Raises:
        ValueError: no such option, no such value of it, or values that do not go together.
    """
    known = [field.name for field in fields(ModelConfig)]
    for change in changes:
        option, equals, text = change.partition("=")
        if option not in known or not equals:
            raise ValueError(
                f"{change}: no option=value of the model, which has {', '.join(known)}"
            )
        try:
            model = replace(model, **{option: _value(option, text)})
        except ValueError as error:
            raise ValueError(f"{change}: {error}") from None
    for whole, part in _MULTIPLES:
        if getattr(model, whole) % getattr(model, part):
            raise ValueError(
                f"{whole}={getattr(model, whole)}: must be a multiple of "
                f"{part}={getattr(model, part)}"
            )
    if model.attention == "cudnn" and model.dtype != "bfloat16":
        raise ValueError("attention=cudnn: needs dtype=bfloat16")
    return model
