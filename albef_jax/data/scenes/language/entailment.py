"""Sentences that a scene entails, contradicts, or leaves open, a third each.

The world is fully visible, so a neutral sentence is about something that no image shows: the owner
of a thing, its purpose, its weight. It is about an object in the scene.

The words of a sentence reveal whether it is neutral, but not whether it is entailed or
contradicted: each such sentence is a true caption of some scene, and is shown with that scene or,
equally often, with one where it is false. Without images at most two thirds can be reached.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from albef_jax.data.records import LABELS
from albef_jax.data.scenes.language.captions import KINDS
from albef_jax.data.scenes.language.phrases import noun_phrase
from albef_jax.data.scenes.world.draw import pick
from albef_jax.data.scenes.world.edits import changed
from albef_jax.data.scenes.world.facts import Statement
from albef_jax.data.scenes.world.graph import Scene

CONTRADICTION, NEUTRAL, ENTAILMENT = range(len(LABELS))

_TRIES = 8
_OTHER_SCENE = 0.25  # tries with an entirely different scene for a false sentence
_INVISIBLE = (
    "{} is new",
    "{} is old",
    "{} is heavy",
    "{} is soft",
    "{} is cheap",
    "{} is a toy",
    "{} is for a friend",
    "{} is for a birthday",
    "{} is for the holiday",
    "{} is from last summer",
    "{} is from a shop",
    "{} is on sale today",
    "{} belongs to a child",
    "{} belongs to my friend",
    "a child likes {} best",
    "someone painted {} this morning",
    "someone painted {} last week",
    "someone found {} at home",
)


@dataclass(frozen=True)
class Judged:
    """A sentence about a scene, and its place in `LABELS`."""

    scene: Scene
    text: str
    label: int


def tell(scenes: Iterator[Scene], rng: np.random.Generator, *, train: bool) -> Judged:
    """A sentence about one of the scenes, or about a changed one.

    Args:
        scenes: without end.
        rng: where the choices come from.
        train: whether `HELD_OUT` combinations must not be shown.
    """
    label = pick(rng, (CONTRADICTION, NEUTRAL, ENTAILMENT))
    if label == NEUTRAL:
        scene = next(scenes)
        phrase = noun_phrase(scene, int(rng.random() * len(scene.objects)), rng)[0]
        return Judged(scene, pick(rng, _INVISIBLE).format(phrase), label)
    while True:
        scene = next(scenes)
        statement = pick(rng, KINDS)(scene, rng)
        # Searched in both cases: sentences that few scenes contradict would reveal their label.
        other = _where_false(statement, scene, scenes, rng, train)
        if other is not None:
            return Judged(scene if label == ENTAILMENT else other, statement.text, label)


def _where_false(
    statement: Statement,
    scene: Scene,
    scenes: Iterator[Scene],
    rng: np.random.Generator,
    train: bool,
) -> Scene | None:
    """A scene where a true statement of another one is false; None if a few tries find none."""
    for _ in range(_TRIES):
        if rng.random() < _OTHER_SCENE:
            other: Scene | None = next(scenes)
        else:
            other = changed(scene, rng, train=train)
        if other is not None and statement.judge(other) is False:
            return other
    return None
