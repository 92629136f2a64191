"""Options that name parts of a model: `image_encoder`, or `text_encoder:4` for first layers.

`train.frozen` lists parts; `optimizer.lr_scale` gives each a factor, as
`temperature=0.1,image_encoder:6=0.5`. The first layers of a tower stand for what comes before them,
too: patch or word embeddings.
"""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping

from ml_collections import ConfigDict

from albef_jax.config.file_patterns import split_list
from albef_jax.config.tasks import task_spec

Part = tuple[str, int | None]  # a module, and how many of its first layers; None for all of it

# The option with the number of layers, of modules whose first layers can be named.
DEPTHS = {
    "image_encoder": "model.image_depth",
    "text_encoder": "model.text_depth",
    "fusion_encoder": "model.fusion_depth",
}


def frozen_parts(text: str) -> tuple[Part, ...]:
    """The parts of a valid `train.frozen`."""
    return tuple(_part(entry) for entry in split_list(text))


def scales(text: str) -> dict[Part, float]:
    """The factors of a valid `optimizer.lr_scale`."""
    pairs = (entry.partition("=") for entry in split_list(text))
    return {_part(name): float(scale) for name, _, scale in pairs}


def _part(text: str) -> Part:
    name, colon, layers = text.strip().partition(":")
    return name, int(layers) if colon else None


def problems(config: ConfigDict) -> Iterator[str]:
    """One line for each entry of both options that does not fit the task's model, and for
    `train.cached_views` without a frozen image encoder."""
    yield from _cached_views(config)
    if not (config.train.frozen or config.optimizer.lr_scale):
        return
    from albef_jax.models.task_models import MODELS  # imports jax, which takes seconds

    modules = MODELS[task_spec(config.task).model].parts
    depths = {name: config.model[option.removeprefix("model.")] for name, option in DEPTHS.items()}
    yield from frozen_problems(config.train.frozen, modules, depths)
    yield from scale_problems(config.optimizer.lr_scale, modules, depths)
    frozen = {entry.strip() for entry in split_list(config.train.frozen)}
    for entry in split_list(config.optimizer.lr_scale):
        name = entry.partition("=")[0].strip()
        if name.partition(":")[0] in frozen:
            yield f"optimizer.lr_scale: {name} is frozen by train.frozen; name it in one of the two"


def _cached_views(config: ConfigDict) -> Iterator[str]:
    """Kept tokens are those of an encoder that does not change."""
    views = config.train.get("cached_views", 0)
    if not views:
        return
    option = f"train.cached_views={views}"
    if ("image_encoder", None) not in frozen_parts(config.train.frozen):
        yield f"{option}: the image encoder changes; add image_encoder to train.frozen"
    if views > 1 and config.data.augment == "none":
        yield f"{option}: without augmentation they are equal; set it to 1, or data.augment"
    if views == 1 and config.data.augment != "none":
        yield f"{option}: one augmented view is worse than none; set data.augment=none, or more"


def frozen_problems(
    text: str, modules: Collection[str], depths: Mapping[str, int]
) -> Iterator[str]:
    """One line for each entry of `train.frozen` that is wrong.

    Args:
        modules: of the task's model.
        depths: layers of each module that has some.
    """
    seen: set[str] = set()
    for entry in split_list(text):
        if problem := _problem("train.frozen", entry.strip(), modules, depths):
            yield problem
        name = entry.strip().partition(":")[0]
        if name in seen:
            yield f"train.frozen: {name} is there twice"
        seen.add(name)
    whole = {entry.strip() for entry in split_list(text)}
    if whole and whole >= set(modules):
        yield "train.frozen names all modules: nothing is left to train; remove some"


def scale_problems(text: str, modules: Collection[str], depths: Mapping[str, int]) -> Iterator[str]:
    """The same for `optimizer.lr_scale`: each entry is a part with a positive number."""
    seen: set[str] = set()
    for entry in split_list(text):
        name, _, scale = (part.strip() for part in entry.partition("="))
        if problem := _problem("optimizer.lr_scale", name, modules, depths):
            yield problem
        elif name in seen:
            yield f"optimizer.lr_scale: {name} is there twice"
        elif not _positive(scale):
            yield f"optimizer.lr_scale: {entry!r} must be {name} and a number above 0: {name}=0.1"
        seen.add(name)


def _problem(
    option: str, text: str, modules: Collection[str], depths: Mapping[str, int]
) -> str | None:
    """What is wrong with the name of a part."""
    name, colon, layers = text.partition(":")
    if name not in modules:
        near = difflib.get_close_matches(name, modules, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(modules)}"
        return f"{option}: no module {name!r}; {hint}"
    if not colon:
        return None
    if name not in depths:
        return f"{option}: {text}: {name} has no layers that can be named; write {name}"
    if not (layers.isdecimal() and 1 <= int(layers) <= depths[name]):
        return (
            f"{option}: {text}: {name} has {depths[name]} layers ({DEPTHS[name]}); write "
            f"{name}:1 to {name}:{depths[name]} for its first ones, or {name} for all of it"
        )
    return None


def _positive(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False
