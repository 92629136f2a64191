"""Questions about a scene with one short answer that a person would be sure of.

The words of a question reveal almost nothing about its answer: yes/no questions are asked about a
scene or a changed one with equal chance, and objects are changed to make every possible number
equally likely.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from albef_jax.data.scenes.language.phrases import in_words
from albef_jax.data.scenes.language.words import NUMBER, RELATION, usual, with_article
from albef_jax.data.scenes.world.draw import pick, shuffled
from albef_jax.data.scenes.world.edits import flipped, mirrored, with_counts
from albef_jax.data.scenes.world.graph import (
    COLOURS,
    RELATIONS,
    SIZES,
    Description,
    Scene,
    describe,
)
from albef_jax.data.scenes.world.shapes import SHAPES

MOST_OBJECTS = 6
ANSWERS = (*COLOURS, *SHAPES, *SIZES, *NUMBER[: MOST_OBJECTS + 1], "yes", "no")

_TRIES = 50  # scenes that a kind is given: some ask for more objects than a small world has
_WITHOUT_SHAPE = ("thing", "object")  # 'what shape is the red shape' would sound odd
_COUNTED = (("shape",), ("colour",), ("texture",), ("colour", "shape"))
_SOUGHT = (("shape",), ("colour",), ("texture", "shape"), ("colour", "shape"), ("colour", "shape"))
_COMPARED = ("shape", "colour", "texture")

_OF_ATTRIBUTE = {
    "colour": ("what colour is the {}", "what color is the {}", "what is the colour of the {}"),
    "shape": ("what shape is the {}", "what is the shape of the {}"),
    "size": ("what size is the {}", "what is the size of the {}"),
}
_HOW_MANY = (
    "how many {} are there",
    "how many {} are in the picture",
    "how many {} does the picture show",
    "how many {} do we see",
)
_IS_THERE = (
    "is there {}",
    "is there {} in the picture",
    "does the picture show {}",
    "do we see {}",
)
_WHAT_IS = ("what is {} the {}", "what shape is {} the {}")
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "are there more {} than {}": lambda first, second: first > second,
    "are there fewer {} than {}": lambda first, second: first < second,
    "are there as many {} as {}": lambda first, second: first == second,
}


@dataclass(frozen=True)
class Asked:
    """A question about a scene."""

    scene: Scene
    text: str
    answer: str
    kind: str


# The scene to show, the question, and the answer; None if the scene does not allow the question.
Found = tuple[Scene, str, str] | None


def ask(scenes: Iterator[Scene], rng: np.random.Generator, *, train: bool) -> Asked:
    """A question of a random kind about the first of the scenes that allows it.

    Args:
        scenes: without end.
        rng: where the choices come from.
        train: whether `HELD_OUT` combinations must not be shown.
    """
    while True:
        kind = pick(rng, tuple(KINDS))
        for _ in range(_TRIES):
            if found := KINDS[kind](next(scenes), rng, train):
                return Asked(*found, kind)


def _attribute(name: str, scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'what colour is the large ball'."""
    index = int(rng.random() * len(scene.objects))
    always = () if name == "shape" else ("shape",)
    others = [n for n in ("colour", "size", "texture") if n != name]
    sizes = range(not always, len(others) + 1)
    whats = [
        what
        for size in sizes
        for names in combinations(others, size)
        if scene.find(what := describe(scene.objects[index], *always, *names)) == (index,)
    ]
    if not whats:
        return None
    what = whats[0] if rng.random() < 0.7 else pick(rng, whats)  # mostly the shortest one
    text = pick(rng, _OF_ATTRIBUTE[name]).format(in_words(rng, what, any_shape=_WITHOUT_SHAPE))
    return scene, text, getattr(scene.objects[index], name)


def _count(scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'how many red things are there'."""
    what = _described(scene, rng, _COUNTED)
    number = int(rng.random() * (len(scene.objects) + 1))
    shown = with_counts(scene, [(what, number)], rng, train=train)
    text = pick(rng, _HOW_MANY).format(in_words(rng, what, several=True))
    return (shown, text, NUMBER[number]) if shown else None


def _existence(scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'is there a red ball', with a near miss in the scene without one."""
    what = _described(scene, rng, _SOUGHT)
    without = with_counts(scene, [(what, 0)], rng, train=train)
    if without is None:
        return None
    text = pick(rng, _IS_THERE).format(with_article(in_words(rng, what)))
    return _yes_or_no(scene, without, text, rng)


def _relation(scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'is the red ball left of the star', of a scene or of its mirror image."""
    for i, j in _pairs(scene, rng):
        first, second = scene.distinguish(i), scene.distinguish(j)
        if first is None or second is None:
            continue
        for name, exchanged in _EXCHANGES.items():
            if scene.related(i, name, j) and (other := exchanged(scene)) is not None:
                words = in_words(rng, first), usual(rng, RELATION[name]), in_words(rng, second)
                return _yes_or_no(scene, other, "is the {} {} the {}".format(*words), rng)
    return None


def _neighbour(scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'what is left of the red square', where only one object is, and clearly so."""
    for i in shuffled(rng, range(len(scene.objects))):
        what = scene.distinguish(i)
        if what is None:
            continue
        for name in shuffled(rng, tuple(RELATIONS)):
            others = [j for j in range(len(scene.objects)) if j != i]
            related = [scene.related(j, name, i) for j in others]
            if related.count(True) == 1 and None not in related:
                words = usual(rng, RELATION[name]), in_words(rng, what)
                answer = scene.objects[others[related.index(True)]].shape
                return scene, pick(rng, _WHAT_IS).format(*words), answer
    return None


def _comparison(scene: Scene, rng: np.random.Generator, train: bool) -> Found:
    """'are there more balls than stars'."""
    name = pick(rng, _COMPARED)
    first, second = (_described(scene, rng, ((name,),)) for _ in range(2))
    if first == second:
        return None
    form = pick(rng, tuple(_COMPARISONS))
    most = min(3, len(scene.objects))
    counts = [
        (a, b)
        for a in range(most + 1)
        for b in range(most + 1)
        if 1 <= a + b <= len(scene.objects)  # none of both is no answer to 'as many'
    ]
    yes = [pair for pair in counts if _COMPARISONS[form](*pair)]
    no = [pair for pair in counts if not _COMPARISONS[form](*pair)]
    if not (yes and no):
        return None
    answer = pick(rng, ("yes", "no"))
    a, b = pick(rng, yes if answer == "yes" else no)
    shown = with_counts(scene, [(first, a), (second, b)], rng, train=train)
    words = in_words(rng, first, several=True), in_words(rng, second, several=True)
    return (shown, form.format(*words), answer) if shown else None


def _described(
    scene: Scene, rng: np.random.Generator, choices: tuple[tuple[str, ...], ...]
) -> Description:
    """A random object of the scene, in some of its attributes."""
    return describe(pick(rng, scene.objects), *pick(rng, choices))


def _yes_or_no(
    yes: Scene, no: Scene, text: str, rng: np.random.Generator
) -> tuple[Scene, str, str]:
    return (yes, text, "yes") if rng.random() < 0.5 else (no, text, "no")


def _pairs(scene: Scene, rng: np.random.Generator) -> list[tuple[int, int]]:
    indices = range(len(scene.objects))
    return shuffled(rng, [(i, j) for i in indices for j in indices if i != j])


_EXCHANGES: dict[str, Callable[[Scene], Scene | None]] = {
    "left of": mirrored,
    "right of": mirrored,
    "above": flipped,
    "below": flipped,
}
KINDS: dict[str, Callable[[Scene, np.random.Generator, bool], Found]] = {
    "colour": partial(_attribute, "colour"),
    "shape": partial(_attribute, "shape"),
    "size": partial(_attribute, "size"),
    "count": _count,
    "existence": _existence,
    "relation": _relation,
    "neighbour": _neighbour,
    "comparison": _comparison,
}
