"""Reads captions back and checks them against a scene, without the package's facts or words.

Words are listed anew and geometry is worked out from coordinates and drawn outlines, so that a
mistake in the grammar or in the graph's relations shows as a disagreement.
"""

import re
from itertools import permutations

import cv2
import numpy as np

from albef_jax.data.scenes.world.shapes import outline

SYNONYMS = {
    "scarlet": "red", "golden": "yellow", "violet": "purple",
    "circle": "ball", "disc": "ball", "block": "square", "hoop": "ring", "plus": "cross",
    "little": "small", "tiny": "small", "big": "large",
    "solid": "plain", "stripy": "striped", "spotted": "dotted", "checkered": "checked",
    "object": "shape", "thing": "shape",
}  # fmt: skip
KINDS = {
    "shape": ["ball", "square", "triangle", "star", "ring", "cross", "heart", "diamond"],
    "colour": ["red", "orange", "yellow", "green", "blue", "purple", "pink", "black"],
    "size": ["small", "large"],
    "texture": ["plain", "striped", "dotted", "checked"],
}
WORN = {"stripes": "striped", "dots": "dotted", "checks": "checked"}
NOUNS = [*KINDS["shape"], *["circle", "disc", "block", "hoop", "plus", "shape", "object", "thing"]]
PLURALS = {noun + ("es" if noun[-1] == "s" else "s"): noun for noun in NOUNS}
NUMBERS = {
    "a": None,
    "an": None,
    "the": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
}
LEADS = r"^(there is|there are|here is|here are|we see|an? (picture|image) (of|with)) "
GROUNDS = {
    "on lined paper": "paper", "on ruled paper": "paper", "on a grid": "grid",
    "on squared paper": "grid", "on wood": "wood", "on a wooden floor": "wood",
    "in the sky": "sky", "against a cloudy sky": "sky", "on grass": "grass",
    "on a green lawn": "grass", "on sand": "sand", "on a sandy beach": "sand",
}  # fmt: skip
PLACES = {
    "on the left": lambda t: t.x < 0.36,
    "on the right": lambda t: t.x > 0.64,
    "at the top": lambda t: t.y < 0.36,
    "at the bottom": lambda t: t.y > 0.64,
    "in the middle": lambda t: max(abs(t.x - 0.5), abs(t.y - 0.5)) < 0.17,
    "in the center": lambda t: max(abs(t.x - 0.5), abs(t.y - 0.5)) < 0.17,
}
RELATIONS = {
    r"to the left of|left of|on the left side of": lambda s, a, b: gap(b, a, "x") > 0.13,
    r"to the right of|right of|on the right side of": lambda s, a, b: gap(a, b, "x") > 0.13,
    r"above|higher than": lambda s, a, b: gap(b, a, "y") > 0.13,
    r"below|under|lower than": lambda s, a, b: gap(a, b, "y") > 0.13,
    r"overlapping|touching": lambda s, a, b: shared(a, b) > 0,
    r"in front of|partly covering": lambda s, a, b: shared(a, b) > 0 and order(s, a) > order(s, b),
    r"behind|partly hidden by": lambda s, a, b: shared(a, b) > 0 and order(s, a) < order(s, b),
    r"next to|beside|close to|near": lambda s, a, b: (
        np.hypot(a.x - b.x, a.y - b.y) < a.radius + b.radius + 0.06
    ),
}


def gap(a, b, axis):
    return getattr(a, axis) - getattr(b, axis)


def order(scene, thing):
    return next(i for i, other in enumerate(scene.objects) if other is thing)


def shared(a, b):
    """Pixels that both objects would colour at 200 pixels a side."""
    masks = []
    for thing in (a, b):
        canvas = np.zeros((200, 200), np.uint8)
        points = [(p * thing.radius + (thing.x, thing.y)) * 200 for p in outline(thing.shape)]
        cv2.fillPoly(canvas, [p.round().astype(np.int32) for p in points], (1.0,))
        masks.append(canvas)
    return int((masks[0] & masks[1]).sum())


def parse_phrase(phrase):
    """'three tiny balls with dots' -> (number or None, {attribute: value}).

    'the' counts as exactly one, 'a' claims no number.
    """
    phrase = re.sub(r" without a pattern$", " plain", phrase)
    phrase = re.sub(r" with (stripes|dots|checks)$", lambda m: " " + WORN[m[1]], phrase)
    first, *rest = phrase.split()
    wanted = {}
    for word in rest:
        word = PLURALS.get(word, word)
        word = SYNONYMS.get(word, word)
        if word != "shape":
            kind = next(kind for kind, values in KINDS.items() if word in values)
            assert kind not in wanted, phrase
            wanted[kind] = word
    return NUMBERS[first], wanted


def fitting(scene, wanted):
    return [t for t in scene.objects if all(getattr(t, k) == v for k, v in wanted.items())]


def is_true(text, scene):
    """Whether a caption of the grammar is true of the scene."""
    text = re.sub(LEADS, "", text)
    for ending, kind in GROUNDS.items():
        if text.endswith(" " + ending):
            if scene.background.kind != kind:
                return False
            text = text.removesuffix(" " + ending)
    for ending, inside in PLACES.items():
        if text.endswith(" " + ending):
            phrase = re.sub(r" (is|sits|lies)$", "", text.removesuffix(" " + ending))
            return _named(scene, phrase) and any(
                map(inside, fitting(scene, parse_phrase(phrase)[1]))
            )
    for words, holds in RELATIONS.items():
        parts = re.split(rf" (?:(?:is|sits|lies) )?(?:{words}) (?=(?:a|an|the) )", text)
        if len(parts) == 2:
            first, second = (fitting(scene, parse_phrase(part)[1]) for part in parts)
            pairs = [(a, b) for a in first for b in second if a is not b]
            return all(_named(scene, p) for p in parts) and any(holds(scene, *p) for p in pairs)
    return _list_is_true(text, scene)


def _named(scene, phrase):
    number, wanted = parse_phrase(phrase)
    found = len(fitting(scene, wanted))
    return found >= 1 if number is None else found == number


def _list_is_true(text, scene):
    ordered = text.startswith("from left to right ")
    text = text.removeprefix("from left to right ").replace("without a pattern", "plainly")
    starts = "|".join(NUMBERS)
    phrases = re.split(rf"(?: and)? (?=(?:{starts}) )", text)
    phrases = [phrase.replace("plainly", "without a pattern") for phrase in phrases]
    whats = [parse_phrase(phrase)[1] for phrase in phrases]
    row = sorted(scene.objects, key=lambda thing: thing.x)
    rows = [row] if ordered else list(map(list, permutations(row, len(whats))))
    fits = any(
        len(row) == len(whats)
        and all(thing in fitting(scene, what) for thing, what in zip(row, whats, strict=True))
        for row in rows
    )
    return fits and all(_named(scene, phrase) for phrase in phrases)
