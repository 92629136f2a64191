"""Draws scenes: deterministic from (seed, split, index), without limit."""

import math
from dataclasses import replace

import numpy as np

from albef_jax.data.scenes.world.draw import SCENE, pick, stream
from albef_jax.data.scenes.world.graph import (
    BACKGROUNDS,
    COLOURS,
    SIZES,
    TEXTURES,
    Background,
    Scene,
    SceneObject,
)
from albef_jax.data.scenes.world.shapes import SHAPES, hidden_share

# One shape of each colour and one colour of each shape: 8 of the 64 combinations.
HELD_OUT = frozenset((colour, SHAPES[(3 * i + 1) % 8]) for i, colour in enumerate(COLOURS))
_HELD_OUT = sorted(HELD_OUT)

COUNT_WEIGHTS = (0.10, 0.24, 0.26, 0.20, 0.12, 0.08)  # of 1 to 6 objects
RADIUS = {"small": (0.095, 0.112), "large": (0.16, 0.18)}
VARIANTS = 3  # patterns of each background
MOST_HIDDEN = 0.35  # of one object, at most 0.4 with the error of the share, 0.02
_EDGE = 0.02  # kept free between objects and the image's edge
_TEXTURES = ("plain", *TEXTURES)  # plain twice as often as each pattern


def sample_scene(seed: int, split: str, index: int, most: int = len(COUNT_WEIGHTS)) -> Scene:
    """The scene with this index, of `most` objects at most.

    Every object lies wholly inside the image and at least 60 % of it is visible. No scene of
    'train' has a (colour, shape) combination of `HELD_OUT`; half of 'val' and of 'test' do.

    Raises:
        ValueError: see `stream`.
    """
    rng = stream(seed, split, index, SCENE)
    count = 1 + int(np.searchsorted(np.cumsum(COUNT_WEIGHTS), rng.random()))
    looks = _looks(rng, min(count, most))
    if split != "train" and rng.random() < 0.5:
        colour, shape = pick(rng, _HELD_OUT)
        unlucky = int(rng.random() * len(looks))
        looks[unlucky] = replace(looks[unlucky], colour=colour, shape=shape)
    background = Background(
        pick(rng, BACKGROUNDS), int(rng.random() * VARIANTS), rng.random(), rng.random()
    )
    return Scene(_arrange(rng, looks), background)


def _looks(rng: np.random.Generator, count: int) -> list[SceneObject]:
    """Objects without a place. Some repeat a shape or a colour, so that counting pays."""
    looks: list[SceneObject] = []
    while len(looks) < count:
        shape, colour = pick(rng, SHAPES), pick(rng, COLOURS)
        if looks and rng.random() < 0.35:
            shape = pick(rng, looks).shape
        if looks and rng.random() < 0.2:
            colour = pick(rng, looks).colour
        crowded = count > 4 and sum(thing.size == "large" for thing in looks) >= 2
        size = "small" if crowded else pick(rng, SIZES)
        if (colour, shape) in HELD_OUT:
            continue
        low, high = RADIUS[size]
        radius = low + (high - low) * rng.random()
        looks.append(SceneObject(shape, colour, size, pick(rng, _TEXTURES), 0.5, 0.5, radius))
    return looks


def _arrange(rng: np.random.Generator, looks: list[SceneObject]) -> tuple[SceneObject, ...]:
    """Places the objects in order, and starts again when one finds no room."""
    while True:
        placed: list[SceneObject] = []
        covered: set[int] = set()
        for look in looks:
            thing = _over_another(rng, look, placed, covered) or _apart(rng, look, placed)
            if thing is None:
                break
            placed.append(thing)
        else:
            return tuple(placed)


def _apart(
    rng: np.random.Generator, look: SceneObject, placed: list[SceneObject]
) -> SceneObject | None:
    """The object at a free place; None if 30 tries find none."""
    margin = look.radius + _EDGE
    for _ in range(30):
        x = margin + (1 - 2 * margin) * rng.random()
        y = margin + (1 - 2 * margin) * rng.random()
        if all(_clears(x, y, look.radius, other) for other in placed):
            return replace(look, x=x, y=y)
    return None


def _over_another(
    rng: np.random.Generator, look: SceneObject, placed: list[SceneObject], covered: set[int]
) -> SceneObject | None:
    """The object partly over an earlier one, in a share of the cases; None in the others.

    No object is covered by two others, so that `MOST_HIDDEN` bounds what each one loses.
    """
    if not placed or rng.random() > 0.3:
        return None
    target = int(rng.random() * len(placed))
    back = placed[target]
    distance = (0.6 + 0.25 * rng.random()) * (look.radius + back.radius)
    angle = 2 * math.pi * rng.random()
    dx, dy = distance * math.cos(angle), distance * math.sin(angle)
    x, y = back.x + dx, back.y + dy
    margin = look.radius + _EDGE
    inside = margin <= min(x, y) and max(x, y) <= 1 - margin
    others = placed[:target] + placed[target + 1 :]
    if target in covered or not (inside and all(_clears(x, y, look.radius, o) for o in others)):
        return None
    share = hidden_share(back.shape, back.radius, look.shape, look.radius, dx, dy)
    if not 0.07 <= share <= MOST_HIDDEN:
        return None
    covered.add(target)
    return replace(look, x=x, y=y)


def _clears(x: float, y: float, radius: float, other: SceneObject) -> bool:
    """Whether a circle keeps clear of another object's circle."""
    return (x - other.x) ** 2 + (y - other.y) ** 2 > (radius + other.radius + 0.01) ** 2
