"""Expressions that fit one object of a scene alone, and boxes to choose from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from albef_jax.data.scenes.language.phrases import in_words
from albef_jax.data.scenes.language.words import PLACE, RELATION, usual
from albef_jax.data.scenes.world.draw import pick, shuffled
from albef_jax.data.scenes.world.graph import PLACES, RELATIONS, Scene, SceneObject, describe

Box = tuple[float, float, float, float]  # x, y, width, height in pixels

MOST_IOU = 0.5  # of a wrong candidate with the truth: from here on it would count as found
_LEAST_SIDE = 0.08  # of a distractor, as a share of the image


@dataclass(frozen=True)
class Referred:
    """An expression for one object, given by its place in `scene.objects`."""

    scene: Scene
    text: str
    index: int


def refer(scenes: Iterator[Scene], rng: np.random.Generator) -> Referred:
    """An expression for an object among others, in the first scene that allows one."""
    while True:
        scene = next(scenes)
        if len(scene.objects) < 2:
            continue
        for index in shuffled(rng, range(len(scene.objects))):
            if text := _expression(scene, index, rng):
                article = "the " if rng.random() < 0.5 else ""
                return Referred(scene, article + text, index)


def _expression(scene: Scene, index: int, rng: np.random.Generator) -> str | None:
    """By attributes alone, or where others share them by place or by relation; None for a twin."""
    options = shuffled(rng, [*_by_place(scene, index, rng), *_by_relation(scene, index, rng)])
    what = scene.distinguish(index)
    if what is not None and (not options or rng.random() < 0.6):
        return in_words(rng, what)
    return options[0] if options else None


def _shared(scene: Scene, index: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An attribute that other objects have, too, and which ones."""
    for name in ("shape", "colour"):
        fitting = scene.find(describe(scene.objects[index], name))
        if len(fitting) > 1:
            yield name, tuple(i for i in fitting if i != index)


def _by_place(scene: Scene, index: int, rng: np.random.Generator) -> Iterator[str]:
    """'ball on the left', where no other ball may be meant."""
    for name, others in _shared(scene, index):
        words = in_words(rng, describe(scene.objects[index], name))
        for place in PLACES:
            if scene.placed(index, place) and _none(scene.placed(i, place) for i in others):
                yield f"{words} {usual(rng, PLACE[place])}"


def _by_relation(scene: Scene, index: int, rng: np.random.Generator) -> Iterator[str]:
    """'ball left of the red star', where no other ball may be meant."""
    for name, others in _shared(scene, index):
        words = in_words(rng, describe(scene.objects[index], name))
        for anchor in range(len(scene.objects)):
            what = scene.distinguish(anchor)
            if anchor == index or what is None:
                continue
            for relation in RELATIONS:
                related = (scene.related(i, relation, anchor) for i in others if i != anchor)
                if scene.related(index, relation, anchor) and _none(related):
                    yield f"{words} {usual(rng, RELATION[relation])} the {in_words(rng, what)}"


def _none(answers: Iterator[bool | None]) -> bool:
    """Whether a person would be sure that it holds for none."""
    return all(answer is False for answer in answers)


def pixel_box(thing: SceneObject, size: int) -> Box:
    """An object's box in an image of `size` x `size` pixels."""
    x0, y0, x1, y1 = (edge * size for edge in thing.box)
    return x0, y0, x1 - x0, y1 - y0


def candidates(scene: Scene, index: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """The boxes of all objects and of two to four places that are none, in random order.

    None but object `index` itself overlaps it with an IoU of `MOST_IOU` or more.

    Returns:
        float32 `[n, 4]`, (x, y, width, height) in pixels.
    """
    boxes = [pixel_box(thing, size) for thing in scene.objects]
    truth = boxes[index]
    kept = [box for i, box in enumerate(boxes) if i == index or iou(box, truth) < MOST_IOU]
    wanted = len(kept) + pick(rng, (2, 3, 4))
    while len(kept) < wanted:
        box = _moved(pick(rng, boxes), size, rng)
        if min(box[2:]) >= _LEAST_SIDE * size and iou(box, truth) < MOST_IOU:
            kept.append(box)
    return np.array(shuffled(rng, kept), np.float32)


def _moved(box: Box, size: int, rng: np.random.Generator) -> Box:
    """A box that is like another one, but somewhere else, and of another size."""
    x, y, width, height = box
    new_width, new_height = width * (0.6 + rng.random()), height * (0.6 + rng.random())
    x += width / 2 + 1.6 * width * (rng.random() - 0.5) - new_width / 2
    y += height / 2 + 1.6 * height * (rng.random() - 0.5) - new_height / 2
    x0, y0 = max(x, 0.0), max(y, 0.0)
    x1, y1 = min(x + new_width, size), min(y + new_height, size)
    return x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0)


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """The area that two boxes share, by the area that they cover together."""
    sides = [
        max(min(a + c, b + d) - max(a, b), 0.0)
        for a, c, b, d in zip(first[:2], first[2:], second[:2], second[2:], strict=True)
    ]
    shared = sides[0] * sides[1]
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
