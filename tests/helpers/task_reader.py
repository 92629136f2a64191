"""Reads questions and statements back and works them out anew, as `scene_reader` does captions."""

import re
from collections import Counter

import numpy as np

from tests.helpers.scene_reader import NUMBERS, PLACES, RELATIONS, fitting, parse_phrase

RELATION = "|".join(RELATIONS)
COUNTS = ["zero", "one", "two", "three", "four", "five", "six"]
INVISIBLE = (
    r"^(?:someone (?:painted|found) |a child likes )?(?P<what>(?:the|an?) .+?) (?:is (?:new|old|"
    r"heavy|soft|cheap|a toy|for .+|from .+|on sale today)|belongs to .+|best|this morning|"
    r"last week|at home)$"
)


def things(scene, words):
    """The objects that a phrase without an article fits, in the singular or the plural."""
    return fitting(scene, parse_phrase("a " + words)[1])


def the(scene, words):
    """The one object that 'the ...' can mean."""
    (thing,) = things(scene, words)
    return thing


def holds(scene, first, words, second):
    judge = next(judge for pattern, judge in RELATIONS.items() if re.fullmatch(pattern, words))
    return bool(judge(scene, first, second))


def yes(truth):
    return "yes" if truth else "no"


def answer(text, scene):
    """The answer to a question about a scene."""
    if match := re.fullmatch(rf"what (?:shape )?is ({RELATION}) the (.+)", text):
        anchor = the(scene, match[2])
        others = [t for t in scene.objects if t is not anchor]
        (found,) = [t for t in others if holds(scene, t, match[1], anchor)]
        return found.shape
    asked = r"what (?:is the )?(colour|color|shape|size) (?:is|of) the (.+)"
    if match := re.fullmatch(asked, text):
        return getattr(the(scene, match[2]), match[1].replace("color", "colour"))
    ends = "are there|are in the picture|does the picture show|do we see"
    if match := re.fullmatch(rf"how many (.+) (?:{ends})", text):
        return COUNTS[len(things(scene, match[1]))]
    if match := re.fullmatch(rf"is the (.+?) ({RELATION}) the (.+)", text):
        return yes(holds(scene, the(scene, match[1]), match[2], the(scene, match[3])))
    if match := re.fullmatch(r"are there (more|fewer|as many) (.+) (?:than|as) (.+)", text):
        first, second = (len(things(scene, match[i])) for i in (2, 3))
        sign = {"more": 1, "fewer": -1, "as many": 0}[match[1]]
        return yes(np.sign(first - second) == sign)
    starts = "is there|does the picture show|do we see"
    match = re.fullmatch(rf"(?:{starts}) an? (.+?)(?: in the picture)?", text)
    return yes(things(scene, match[1]))


NO = r"there are no (?P<what>.+) in the two pictures"
FORMS = {
    r"both pictures show (?!the)an? (?P<what>.+)|each picture contains an? (?P<what2>.+)"
    r"|there is an? (?P<what3>.+) in both images": lambda left, right, _: left and right,
    r"exactly one (?:of the pictures shows|image contains) an? (?P<what>.+)"
    r"|there is an? (?P<what2>.+) in one picture and none in the other": lambda left, right, _: (
        bool(left) != bool(right)
    ),
    rf"(?:neither picture shows|none of the images contains) an? (?P<what2>.+)|{NO}": (
        lambda left, right, _: left + right == 0
    ),
    r"the left picture shows an? (?P<what>.+)|there is an? (?P<what2>.+) in the left image": (
        lambda left, right, _: left
    ),
    r"the right picture shows an? (?P<what>.+)|there is an? (?P<what2>.+) in the right image": (
        lambda left, right, _: right
    ),
    r"there are exactly (?P<number>\w+) (?P<what>.+) in the left picture": (
        lambda left, right, number: left == number
    ),
    r"there are exactly (?P<number>\w+) (?P<what>.+) in the right picture": (
        lambda left, right, number: right == number
    ),
    r"the left picture has more (?P<what>.+) than the right one"
    r"|there are fewer (?P<what2>.+) in the right image than in the left one": (
        lambda left, right, _: left > right
    ),
    r"the right picture has more (?P<what>.+) than the left one"
    r"|there are fewer (?P<what2>.+) in the left image than in the right one": (
        lambda left, right, _: left < right
    ),
    r"both pictures show the same number of (?P<what>.+)"
    r"|there are as many (?P<what2>.+) in the left image as in the right one": (
        lambda left, right, _: left == right
    ),
    r"there are (?P<number>two|three|four) (?P<what>.+) in total"
    r"|the two pictures show (?P<number2>\w+) (?P<what2>.+) in total": (
        lambda left, right, number: left + right == number
    ),
}


def is_true_of_two(text, left, right):
    """Whether a statement over two scenes holds."""
    found = [(re.fullmatch(form, text), judge) for form, judge in FORMS.items()]
    ((match, judge),) = [(match, judge) for match, judge in found if match]
    groups = {name.rstrip("23"): value for name, value in match.groupdict().items() if value}
    counts = (len(things(scene, groups["what"])) for scene in (left, right))
    return bool(judge(*counts, NUMBERS.get(groups.get("number"))))


def meant(text, scene):
    """The objects that a referring expression fits."""
    text = text.removeprefix("the ")
    for ending, inside in PLACES.items():
        if text.endswith(" " + ending):
            return [t for t in things(scene, text.removesuffix(" " + ending)) if inside(t)]
    if match := re.fullmatch(rf"(.+?) ({RELATION}) the (.+)", text):
        anchor = the(scene, match[3])
        others = [t for t in things(scene, match[1]) if t is not anchor]
        return [t for t in others if holds(scene, t, match[2], anchor)]
    return things(scene, text)


def accuracy_by_words(texts, labels):
    """How well labels can be told from words and word pairs, without an image: naive Bayes.

    Fitted on two thirds of the texts, and measured on the others.
    """
    said = [[*text.split(), *zip(text.split(), text.split()[1:], strict=False)] for text in texts]
    cut = 2 * len(texts) // 3
    names = sorted(set(labels))
    counts = {name: Counter() for name in names}
    for words, label in zip(said[:cut], labels[:cut], strict=True):
        counts[label].update(words)
    totals = {name: sum(counts[name].values()) + 1000 for name in names}
    shares = {name: np.log(labels[:cut].count(name) / cut) for name in names}

    def guess(words):
        scores = {
            n: shares[n] + sum(np.log((counts[n][w] + 0.5) / totals[n]) for w in words)
            for n in names
        }
        return max(names, key=scores.__getitem__)

    right = [guess(words) == label for words, label in zip(said[cut:], labels[cut:], strict=True)]
    return float(np.mean(right))
