"""Statements about a left and a right scene; with equal words, true as often as false.

Form, objects and number are chosen first, then whether the statement is to be true, then how many
such objects each scene has; both scenes are changed accordingly.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from albef_jax.data.scenes.language.phrases import in_words
from albef_jax.data.scenes.language.words import NUMBER, with_article
from albef_jax.data.scenes.world.draw import pick
from albef_jax.data.scenes.world.edits import with_counts
from albef_jax.data.scenes.world.graph import Description, Scene, describe

_MOST = 3  # such objects in one scene
_TRIES = 50  # scenes that a form is given: some ask for more objects than a small world has
_DESCRIBED = (("shape",), ("colour",), ("texture", "shape"), ("colour", "shape"))


@dataclass(frozen=True)
class _Form:
    """Sentences that say the same: {a} is 'a red ball', {many} 'red balls', {number} 'two'.

    `holds` is given the number of such objects on the left, on the right, and the one said.
    """

    texts: tuple[str, ...]
    holds: Callable[[int, int, int], bool]
    numbers: tuple[int, ...] = (0,)


_FORMS = {
    "both": _Form(
        (
            "both pictures show {a}",
            "each picture contains {a}",
            "there is {a} in both images",
        ),
        lambda left, right, _: left > 0 and right > 0,
    ),
    "one": _Form(
        (
            "exactly one of the pictures shows {a}",
            "exactly one image contains {a}",
            "there is {a} in one picture and none in the other",
        ),
        lambda left, right, _: (left > 0) != (right > 0),
    ),
    "neither": _Form(
        (
            "neither picture shows {a}",
            "none of the images contains {a}",
            "there are no {many} in the two pictures",
        ),
        lambda left, right, _: left == right == 0,
    ),
    "left": _Form(
        ("the left picture shows {a}", "there is {a} in the left image"),
        lambda left, right, _: left > 0,
    ),
    "right": _Form(
        ("the right picture shows {a}", "there is {a} in the right image"),
        lambda left, right, _: right > 0,
    ),
    "left number": _Form(
        ("there are exactly {number} {many} in the left picture",),
        lambda left, right, number: left == number,
        (2, 3),
    ),
    "right number": _Form(
        ("there are exactly {number} {many} in the right picture",),
        lambda left, right, number: right == number,
        (2, 3),
    ),
    "more on the left": _Form(
        (
            "the left picture has more {many} than the right one",
            "there are fewer {many} in the right image than in the left one",
        ),
        lambda left, right, _: left > right,
    ),
    "more on the right": _Form(
        (
            "the right picture has more {many} than the left one",
            "there are fewer {many} in the left image than in the right one",
        ),
        lambda left, right, _: left < right,
    ),
    "equal": _Form(
        (
            "both pictures show the same number of {many}",
            "there are as many {many} in the left image as in the right one",
        ),
        lambda left, right, _: left == right,
    ),
    "total": _Form(
        (
            "there are {number} {many} in total",
            "the two pictures show {number} {many} in total",
        ),
        lambda left, right, number: left + right == number,
        (2, 3, 4),
    ),
}
FORMS = tuple(_FORMS)


@dataclass(frozen=True)
class Compared:
    """A statement over two scenes and its truth; `form` is one of `FORMS`."""

    left: Scene
    right: Scene
    text: str
    label: bool
    form: str


def tell(scenes: Iterator[Scene], rng: np.random.Generator, *, train: bool) -> Compared:
    """A statement over two of the scenes, both changed to suit it.

    Args:
        scenes: without end.
        rng: where the choices come from.
        train: whether `HELD_OUT` combinations must not be shown.
    """
    while True:
        name = pick(rng, FORMS)
        for _ in range(_TRIES):
            if compared := _tell(name, scenes, rng, train):
                return compared


def _tell(
    name: str, scenes: Iterator[Scene], rng: np.random.Generator, train: bool
) -> Compared | None:
    """A statement of that form, if the next two scenes allow it."""
    form = _FORMS[name]
    left, right = next(scenes), next(scenes)
    # Of the two scenes either may be the one that has such an object from the start.
    what = describe(pick(rng, (*left.objects, *right.objects)), *pick(rng, _DESCRIBED))
    number = pick(rng, form.numbers)
    counts = {truth: _counts(form, number, left, right, truth) for truth in (True, False)}
    if not (counts[True] and counts[False]):
        return None
    label = rng.random() < 0.5
    many_left, many_right = pick(rng, counts[label])
    shown_left = with_counts(left, [(what, many_left)], rng, train=train)
    shown_right = with_counts(right, [(what, many_right)], rng, train=train)
    if shown_left is None or shown_right is None:
        return None
    return Compared(shown_left, shown_right, _in_words(form, what, number, rng), label, name)


def _counts(
    form: _Form, number: int, left: Scene, right: Scene, truth: bool
) -> list[tuple[int, int]]:
    """How many objects the two scenes could have so that the statement is true, or is not."""
    return [
        (a, b)
        for a in range(min(_MOST, len(left.objects)) + 1)
        for b in range(min(_MOST, len(right.objects)) + 1)
        if form.holds(a, b, number) is truth and (a + b > 0 or form is not _FORMS["equal"])
    ]


def _in_words(form: _Form, what: Description, number: int, rng: np.random.Generator) -> str:
    return pick(rng, form.texts).format(
        a=with_article(in_words(rng, what)),
        many=in_words(rng, what, several=True),
        number=NUMBER[number],
    )
