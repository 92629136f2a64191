"""Facts that a sentence states about a scene, and whether they hold.

A sentence keeps its facts, so that it can be checked against any scene: true captions,
wrong captions, yes/no questions and entailment labels all come from `Statement.judge`. The answer
None (not clear to a person) means that the sentence must not be used for that scene.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from albef_jax.data.scenes.world.graph import ASIDE, Description, Scene


class Fact(Protocol):
    """Something that holds for a scene, does not, or is not clear."""

    def judge(self, scene: Scene) -> bool | None:
        """True or False where a person would be sure, else None."""


def _any(answers: Iterable[bool | None]) -> bool | None:
    found = set(answers)
    return True if True in found else None if None in found else False


@dataclass(frozen=True)
class Exists:
    """At least one object fits the description."""

    what: Description

    def judge(self, scene: Scene) -> bool:
        """Never doubtful."""
        return bool(scene.find(self.what))


@dataclass(frozen=True)
class Count:
    """Exactly `number` objects fit the description."""

    what: Description
    number: int

    def judge(self, scene: Scene) -> bool:
        """Never doubtful."""
        return len(scene.find(self.what)) == self.number


@dataclass(frozen=True)
class Related:
    """Some object that fits `first` stands in the relation to another that fits `second`."""

    first: Description
    relation: str
    second: Description

    def judge(self, scene: Scene) -> bool | None:
        """None if the best candidates are a doubtful case."""
        pairs = [(i, j) for i in scene.find(self.first) for j in scene.find(self.second) if i != j]
        return _any(scene.related(i, self.relation, j) for i, j in pairs)


@dataclass(frozen=True)
class Placed:
    """Some object that fits the description is in this part of the image."""

    what: Description
    place: str

    def judge(self, scene: Scene) -> bool | None:
        """None if the best candidates are a doubtful case."""
        return _any(scene.placed(i, self.place) for i in scene.find(self.what))


@dataclass(frozen=True)
class On:
    """The background is of this kind."""

    background: str

    def judge(self, scene: Scene) -> bool:
        """Never doubtful."""
        return scene.background.kind == self.background


@dataclass(frozen=True)
class Together:
    """There are different objects for the descriptions, one each; others may be there too."""

    whats: tuple[Description, ...]

    def judge(self, scene: Scene) -> bool:
        """Never doubtful."""
        return self._assign(scene, frozenset(range(len(scene.objects))), 0)

    def _assign(self, scene: Scene, free: frozenset[int], position: int) -> bool:
        """Whether the descriptions from `position` on can share out the free objects."""
        if position == len(self.whats):
            return True
        fitting = free.intersection(scene.find(self.whats[position]))
        return any(self._assign(scene, free - {i}, position + 1) for i in fitting)


@dataclass(frozen=True)
class Row:
    """The scene's objects fit the descriptions in this order from left to right."""

    whats: tuple[Description, ...]

    def judge(self, scene: Scene) -> bool | None:
        """None if the order is hard to see, or if the scene has objects that are not named."""
        if not Together(self.whats).judge(scene):
            return False
        if len(self.whats) < len(scene.objects) or not in_clear_order(scene):
            return None
        things = sorted(scene.objects, key=lambda thing: thing.x)
        return all(what.matches(thing) for what, thing in zip(self.whats, things, strict=True))


def in_clear_order(scene: Scene) -> bool:
    """Whether one can see which object comes after which from left to right."""
    xs = sorted(thing.x for thing in scene.objects)
    return all(b - a >= ASIDE / 3 for a, b in pairwise(xs))


@dataclass(frozen=True)
class Statement:
    """A sentence and all that it states."""

    text: str
    facts: tuple[Fact, ...]

    def judge(self, scene: Scene) -> bool | None:
        """True if every fact holds, False if one does not, None if that is not clear."""
        answers = [fact.judge(scene) for fact in self.facts]
        return False if False in answers else None if None in answers else True
