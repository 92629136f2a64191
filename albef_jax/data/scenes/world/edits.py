"""Changed scenes, which differ from another one in what a sentence states.

They balance answers and labels: a sentence that is shown half of the time with its scene, and half
of the time with a changed one where it is false, reveals nothing by its words.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from albef_jax.data.scenes.world.draw import pick, shuffled
from albef_jax.data.scenes.world.graph import (
    BACKGROUNDS,
    COLOURS,
    TEXTURES,
    Description,
    Scene,
    SceneObject,
)
from albef_jax.data.scenes.world.sample import HELD_OUT, MOST_HIDDEN
from albef_jax.data.scenes.world.shapes import SHAPES

# Sizes stay: a larger object might find no room.
_VALUES = {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES}


def with_counts(
    scene: Scene,
    numbers: Sequence[tuple[Description, int]],
    rng: np.random.Generator,
    *,
    train: bool,
) -> Scene | None:
    """The scene with exactly so many objects of each description.

    Objects that fit already are kept, others get what they lack, and surplus ones lose one
    attribute that made them fit.

    Args:
        scene: the scene to start from.
        numbers: descriptions without a size that exclude each other, each with its number.
        rng: where the choices come from.
        train: whether `HELD_OUT` combinations must not come about.

    Returns:
        None if there are too few objects, or if one would be hidden too much.
    """
    things = list(scene.objects)
    free = shuffled(rng, range(len(things)))
    for what, number in numbers:
        free = [i for i in free if what.matches(things[i])] + [
            i for i in free if not what.matches(things[i])
        ]
        if number > len(free):
            return None
        for i in free[:number]:
            things[i] = _fitted(things[i], what, rng, train)
        free = free[number:]
    whats = [what for what, _ in numbers]
    for i in free:
        things[i] = _unfitted(things[i], whats, rng, train)
    return _sound(replace(scene, objects=tuple(things)))


def mirrored(scene: Scene) -> Scene:
    """The scene with left and right exchanged; every shape is its own mirror image."""
    return replace(scene, objects=tuple(replace(t, x=1 - t.x) for t in scene.objects))


def flipped(scene: Scene) -> Scene | None:
    """The scene with objects at the top moved to the bottom; None if one is hidden too much."""
    return _sound(replace(scene, objects=tuple(replace(t, y=1 - t.y) for t in scene.objects)))


def changed(scene: Scene, rng: np.random.Generator, *, train: bool) -> Scene | None:
    """The scene after one change: an attribute, the background, or the arrangement."""
    match pick(rng, (*_VALUES, *_VALUES, "background", "mirrored", "flipped")):
        case "mirrored":
            return mirrored(scene)
        case "flipped":
            return flipped(scene)
        case "background":
            kinds = [kind for kind in BACKGROUNDS if kind != scene.background.kind]
            return replace(scene, background=replace(scene.background, kind=pick(rng, kinds)))
        case name:
            index = int(rng.random() * len(scene.objects))
            thing = pick(rng, _options(scene.objects[index], name, train))
            things = (*scene.objects[:index], thing, *scene.objects[index + 1 :])
            return _sound(replace(scene, objects=things))


def _options(thing: SceneObject, name: str, train: bool) -> list[SceneObject]:
    """The object with each other value of an attribute that may be shown."""
    options = [
        replace(thing, **{name: value})  # type: ignore[arg-type]
        for value in _VALUES[name]
        if value != getattr(thing, name)
    ]
    return [option for option in options if _allowed(option, train)]


def _allowed(thing: SceneObject, train: bool) -> bool:
    return not train or (thing.colour, thing.shape) not in HELD_OUT


def _fitted(
    thing: SceneObject, what: Description, rng: np.random.Generator, train: bool
) -> SceneObject:
    """The object with all that the description states; the rest changes only where it must."""
    stated = {name: value for name in _VALUES if (value := getattr(what, name)) is not None}
    made = replace(thing, **stated)
    if _allowed(made, train):
        return made
    # Of colour and shape one is stated; the other one gives way.
    return pick(rng, _options(made, "shape" if what.shape is None else "colour", train))


def _unfitted(
    thing: SceneObject, whats: list[Description], rng: np.random.Generator, train: bool
) -> SceneObject:
    """The object with one attribute changed, so that no description fits; itself if none does."""
    fitting = next((what for what in whats if what.matches(thing)), None)
    if fitting is None:
        return thing
    names = [name for name in _VALUES if getattr(fitting, name) is not None]
    options = _options(thing, pick(rng, names), train)
    return pick(rng, [o for o in options if not any(what.matches(o) for what in whats)])


def _sound(scene: Scene) -> Scene | None:
    """The scene, unless one of its objects is hidden more than in sampled scenes."""
    count = len(scene.objects)
    for back in range(count):
        if sum(scene.hidden(back, front) for front in range(back + 1, count)) > MOST_HIDDEN:
            return None
    return scene
