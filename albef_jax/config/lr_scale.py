"""`optimizer.lr_scale`: rates of single modules, as `temperature=0.1,image_encoder=0.5`."""

import difflib
import math
from collections.abc import Collection, Iterator

from ml_collections import ConfigDict

from albef_jax.config.file_patterns import split_list
from albef_jax.config.tasks import task_spec


def parsed(text: str) -> dict[str, float]:
    """What each named module's learning rate is multiplied with; for valid options."""
    pairs = (entry.partition("=") for entry in split_list(text))
    return {name.strip(): float(scale) for name, _, scale in pairs}


def unknown_or_wrong(config: ConfigDict) -> Iterator[str]:
    """One line for each entry that is not a module of the task's model with a positive number."""
    if scales := config.optimizer.lr_scale:
        from albef_jax.models.task_models import MODELS  # imports jax, which takes seconds

        yield from problems(scales, MODELS[task_spec(config.task).model].parts)


def problems(text: str, modules: Collection[str]) -> Iterator[str]:
    """One line for each entry that is no known module with a positive number."""
    seen: set[str] = set()
    for entry in split_list(text):
        name, _, scale = (part.strip() for part in entry.partition("="))
        if name not in modules:
            near = difflib.get_close_matches(name, modules, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(modules)}"
            yield f"optimizer.lr_scale: no module {name!r}; {hint}"
        elif name in seen:
            yield f"optimizer.lr_scale: {name} is there twice"
        elif not _positive(scale):
            yield f"optimizer.lr_scale: {entry!r} must be {name} and a number above 0: {name}=0.1"
        seen.add(name)


def _positive(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False
