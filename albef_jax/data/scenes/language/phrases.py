"""Noun phrases: an object or a number of objects in words, with the facts they claim."""

import numpy as np

from albef_jax.data.scenes.language.words import (
    ANY_SHAPE,
    COLOUR,
    NUMBER,
    SHAPE,
    SIZE,
    TEXTURE,
    WEARING,
    plural,
    usual,
    with_article,
)
from albef_jax.data.scenes.world.draw import pick
from albef_jax.data.scenes.world.facts import Count, Exists, Fact
from albef_jax.data.scenes.world.graph import Description, Scene, describe


def noun_phrase(
    scene: Scene,
    index: int,
    rng: np.random.Generator,
    *,
    detail: float = 0.3,
    unique: float = 0.5,
) -> tuple[str, Description, tuple[Fact, ...]]:
    """One object in words.

    Args:
        scene: the scene.
        index: the object.
        rng: where the choices come from.
        detail: the chance that size and texture are each mentioned.
        unique: the chance of 'the', where only this object fits the words.

    Returns:
        The phrase, the description it amounts to, and the fact that it claims: that the object
        is there, or with 'the' that it is the only one of its description.
    """
    chances = {"shape": 0.93, "colour": 0.85, "size": detail, "texture": detail}
    names = [name for name, chance in chances.items() if rng.random() < chance]
    what = describe(scene.objects[index], *(names or ["colour"]))
    phrase = in_words(rng, what)
    if rng.random() < unique and scene.find(what) == (index,):
        return f"the {phrase}", what, (Count(what, 1),)
    return with_article(phrase), what, (Exists(what),)


def in_words(
    rng: np.random.Generator,
    what: Description,
    *,
    several: bool = False,
    any_shape: tuple[str, ...] = ANY_SHAPE,
) -> str:
    """A description without an article: 'small red ball with stripes'.

    Without a shape, the noun is one of `any_shape`.
    """
    words, after = [], []
    if what.size:
        words.append(usual(rng, SIZE[what.size]))
    if what.texture and rng.random() < 0.75:
        words.append(usual(rng, TEXTURE[what.texture]))
    elif what.texture:
        after.append(WEARING[what.texture])
    if what.colour:
        words.append(usual(rng, COLOUR[what.colour]))
    noun = usual(rng, SHAPE[what.shape]) if what.shape else pick(rng, any_shape)
    return " ".join([*words, plural(noun) if several else noun, *after])


def some(rng: np.random.Generator, number: int, what: Description) -> tuple[str, Fact]:
    """'a red ball', 'one red ball' or 'three red balls', and what it claims.

    A number is exact; 'a' only says that there is one.
    """
    words = in_words(rng, what, several=number != 1)
    if number == 1 and rng.random() < 0.7:
        return with_article(words), Exists(what)
    return f"{NUMBER[number]} {words}", Count(what, number)
