"""Web-like captions: some name a wrong attribute or an absent object, some are off the topic."""

from dataclasses import replace
from typing import Any

import numpy as np

from albef_jax.data.scenes.language.captions import KINDS, full
from albef_jax.data.scenes.world.draw import pick
from albef_jax.data.scenes.world.graph import COLOURS, SIZES, TEXTURES, Scene
from albef_jax.data.scenes.world.sample import HELD_OUT
from albef_jax.data.scenes.world.shapes import SHAPES

_VALUES = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}
_TRIES = 6

UNRELATED = (  # {number} is what a camera counts
    "img {number} jpg",
    "dsc {number}",
    "copy of photo {number} final version",
    "screenshot from my phone",
    "buy now with free shipping",
    "best price in our online shop today",
    "summer sale up to half off",
    "new arrivals for your home",
    "download free stock photo",
    "desktop wallpaper full hd",
    "click here to read more on the blog",
    "my holiday trip last week",
    "easy recipe for the weekend",
    "page not found",
    "follow us for more news",
    "posted by the author in may",
    "happy birthday to my best friend",
    "all rights reserved",
    "sign up for our letter",
    "customer reviews and questions",
)


def corrupt(
    captions: tuple[str, ...], scene: Scene, rng: np.random.Generator, noise: float
) -> tuple[str, ...]:
    """Makes each caption web-like with probability `noise`.

    A web-like caption is a false sentence about one wrong attribute, a false sentence about an
    object that is not in the image, or unrelated text; a third each. False sentences never name
    a combination of `HELD_OUT`, so that noise does not reveal what training must not show.

    Raises:
        ValueError: if `noise` is not a share in [0, 1].
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"scenes: noise {noise} must be a share between 0 and 1")
    return tuple(_weblike(scene, rng) if rng.random() < noise else text for text in captions)


def _weblike(scene: Scene, rng: np.random.Generator) -> str:
    edit = pick(rng, (_one_wrong, _another_object, None))
    for _ in range(_TRIES if edit else 0):
        told = pick(rng, (full, *KINDS))(edit(scene, rng), rng)
        if told.judge(scene) is False:
            return told.text
    return unrelated(rng)


def unrelated(rng: np.random.Generator) -> str:
    """A line as found around images in shops, blogs and cameras."""
    return pick(rng, UNRELATED).format(number=int(1000 + 9000 * rng.random()))


def _one_wrong(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one attribute of one object changed."""
    return _edited(scene, rng, (pick(rng, tuple(_VALUES)),))


def _another_object(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with another object in the place of one."""
    return _edited(scene, rng, tuple(_VALUES))


def _edited(scene: Scene, rng: np.random.Generator, names: tuple[str, ...]) -> Scene:
    """The scene with these attributes of one object redrawn."""
    index = int(rng.random() * len(scene.objects))
    changes: dict[str, Any] = {name: pick(rng, _VALUES[name]) for name in names}
    thing = replace(scene.objects[index], **changes)
    if (thing.colour, thing.shape) in HELD_OUT:
        return _edited(scene, rng, names)
    return replace(scene, objects=(*scene.objects[:index], thing, *scene.objects[index + 1 :]))
