"""The scene graph: the objects of an image, their places and relations.

Captions, questions, entailment, statements over two images and referring expressions are all
read off this graph, never off pixels. Coordinates are shares of the image: (0, 0) is the top
left corner, (1, 1) the bottom right one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from albef_jax.data.scenes.world.shapes import extent, hidden_share

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted", "checked")
BACKGROUNDS = ("paper", "grid", "wood", "sky", "grass", "sand")

ASIDE = 0.14  # centres at least this far apart make "left of" or "above" visible
OVERLAP = 0.05  # a hidden share from here on is a visible overlap


@dataclass(frozen=True)
class SceneObject:
    """One object; `radius` is half the side of the square its shape is drawn in."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float
    radius: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The tight box (x0, y0, x1, y1) of the outline, hidden parts included."""
        x0, y0, x1, y1 = (side * self.radius for side in extent(self.shape))
        return self.x + x0, self.y + y0, self.x + x1, self.y + y1


@dataclass(frozen=True)
class Background:
    """What the objects lie on: the kind, which of its patterns, and where that is cut out."""

    kind: str
    variant: int = 0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Description:
    """Some attributes of an object; None says nothing about that attribute."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None

    def matches(self, thing: SceneObject) -> bool:
        """Whether every stated attribute is the object's."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
            and self.texture in (None, thing.texture)
        )


def describe(thing: SceneObject, *attributes: str) -> Description:
    """The description that states exactly the named attributes of an object."""
    return Description(**{name: getattr(thing, name) for name in attributes})


@dataclass(frozen=True)
class Scene:
    """An image's content. `objects` are in drawing order: a later one hides an earlier one.

    Queries name objects by their index. They answer True or False where a person would be sure,
    and None in between, so that nothing doubtful is ever stated or asked.
    """

    objects: tuple[SceneObject, ...]
    background: Background

    def find(self, description: Description) -> tuple[int, ...]:
        """The objects that a description matches."""
        return tuple(i for i, thing in enumerate(self.objects) if description.matches(thing))

    def distinguish(self, index: int) -> Description | None:
        """The shortest description that matches this object alone; None if a twin is there."""
        for length in range(4):
            for names in combinations(("colour", "size", "texture"), length):
                description = describe(self.objects[index], "shape", *names)
                if self.find(description) == (index,):
                    return description
        return None

    def related(self, first: int, relation: str, second: int) -> bool | None:
        """Whether `first` stands in a relation (a key of `RELATIONS`) to `second`."""
        return RELATIONS[relation](self, first, second)

    def placed(self, index: int, place: str) -> bool | None:
        """Whether an object is in a part of the image (one of `PLACES`)."""
        x, y = self.objects[index].x, self.objects[index].y
        along = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}
        along["middle"] = max(abs(x - 0.5), abs(y - 0.5)) + 0.2
        return _clear(along[place], yes=0.34, no=0.45)

    def hidden(self, back: int, front: int) -> float:
        """The share of an object's area that one later object hides."""
        a, b = self.objects[back], self.objects[front]
        if back >= front or (a.x - b.x) ** 2 + (a.y - b.y) ** 2 > 2 * (a.radius + b.radius) ** 2:
            return 0.0
        return hidden_share(a.shape, a.radius, b.shape, b.radius, b.x - a.x, b.y - a.y)


def _clear(value: float, yes: float, no: float) -> bool | None:
    """True on the far side of `yes`, False on the far side of `no`, None between them."""
    if yes > no:
        value, yes, no = -value, -yes, -no
    return True if value <= yes else False if value >= no else None


def _left_of(scene: Scene, first: int, second: int) -> bool | None:
    a, b = scene.objects[first], scene.objects[second]
    clearly = _clear(b.x - a.x, yes=ASIDE, no=0.0)
    return None if clearly and b.x - a.x < abs(b.y - a.y) else clearly


def _above(scene: Scene, first: int, second: int) -> bool | None:
    a, b = scene.objects[first], scene.objects[second]
    clearly = _clear(b.y - a.y, yes=ASIDE, no=0.0)
    return None if clearly and b.y - a.y < abs(b.x - a.x) else clearly


def _overlapping(scene: Scene, first: int, second: int) -> bool | None:
    return _clear(scene.hidden(min(first, second), max(first, second)), yes=OVERLAP, no=0.0)


def _in_front_of(scene: Scene, first: int, second: int) -> bool | None:
    return False if first < second else _overlapping(scene, first, second)


def _next_to(scene: Scene, first: int, second: int) -> bool | None:
    a, b = scene.objects[first], scene.objects[second]
    distance = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5
    return _clear(distance - a.radius - b.radius, yes=0.05, no=0.2)


RELATIONS: dict[str, Callable[[Scene, int, int], bool | None]] = {
    "left of": _left_of,
    "right of": lambda scene, first, second: _left_of(scene, second, first),
    "above": _above,
    "below": lambda scene, first, second: _above(scene, second, first),
    "overlapping": _overlapping,
    "in front of": _in_front_of,
    "behind": lambda scene, first, second: _in_front_of(scene, second, first),
    "next to": _next_to,
}
PLACES = ("left", "right", "top", "bottom", "middle")
