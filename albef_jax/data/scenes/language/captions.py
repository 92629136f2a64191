"""Captions: a full description first, then sentences of several kinds, all true of the scene."""

from collections.abc import Callable

import numpy as np

from albef_jax.data.scenes.language.phrases import noun_phrase, some
from albef_jax.data.scenes.language.words import (
    BACKGROUND,
    LEAD,
    LEAD_MANY,
    LEFT_TO_RIGHT,
    PLACE,
    RELATION,
    VERB,
    joined,
    usual,
    with_article,
)
from albef_jax.data.scenes.world.draw import pick, shuffled
from albef_jax.data.scenes.world.facts import (
    Fact,
    On,
    Placed,
    Related,
    Row,
    Statement,
    Together,
    in_clear_order,
)
from albef_jax.data.scenes.world.graph import PLACES, RELATIONS, Description, Scene, describe

MOST_WORDS = 24  # with [CLS] the 25 tokens that pre-training keeps
_TRIES = 5
_EXTRAS = ("size", "texture")

Kind = Callable[[Scene, np.random.Generator], Statement]


def captions(scene: Scene, rng: np.random.Generator, count: int = 5) -> tuple[str, ...]:
    """True captions of at most `MOST_WORDS` words; the first one names every object."""
    return tuple(statement.text for statement in statements(scene, rng, count))


def statements(scene: Scene, rng: np.random.Generator, count: int = 5) -> list[Statement]:
    """The same captions with the facts they state."""
    made = [full(scene, rng)]
    kinds = shuffled(rng, KINDS)
    for position in range(count - 1):
        made.append(_unsaid(kinds[position % len(kinds)], scene, rng, made))
    return made


def _unsaid(kind: Kind, scene: Scene, rng: np.random.Generator, said: list[Statement]) -> Statement:
    """A statement that is not there yet, as far as a few tries can find one."""
    for _ in range(_TRIES):
        told = kind(scene, rng)
        if all(told.text != other.text for other in said):
            break
    return told


def full(scene: Scene, rng: np.random.Generator) -> Statement:
    """Every object by colour and shape, in usual words, from left to right.

    Sizes, textures and the background are added, in random order, while there is room.
    """
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
    ordered = len(order) > 1 and in_clear_order(scene)
    room = MOST_WORDS - 3 * len(order) - (4 if ordered else 0) - (len(order) > 1)
    details: list[list[str]] = [[] for _ in order]
    for position, name in shuffled(rng, [(p, e) for p in range(len(order)) for e in _EXTRAS]):
        if room > 0 and rng.random() < 0.6:
            details[position].append(name)
            room -= 1
    whats = tuple(
        describe(scene.objects[i], "colour", "shape", *names)
        for i, names in zip(order, details, strict=True)
    )
    where = BACKGROUND[scene.background.kind][0]
    behind = len(where.split()) <= room and rng.random() < 0.5
    parts = [LEFT_TO_RIGHT] * ordered + [joined([_plainly(what) for what in whats])]
    facts: list[Fact] = [Row(whats) if ordered else Together(whats)]
    if behind:
        parts.append(where)
        facts.append(On(scene.background.kind))
    return Statement(" ".join(parts), tuple(facts))


def _plainly(what: Description) -> str:
    words = (what.size, what.texture, what.colour, what.shape)
    return with_article(" ".join(word for word in words if word))


def relation(scene: Scene, rng: np.random.Generator) -> Statement:
    """One object in a clear relation to another one."""
    count = len(scene.objects)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    for i, j in shuffled(rng, pairs):
        holding = [name for name in RELATIONS if scene.related(i, name, j)]
        if holding:
            name = pick(rng, holding)
            first, told, facts = noun_phrase(scene, i, rng)
            second, told_second, more = noun_phrase(scene, j, rng)
            words = [first, usual(rng, RELATION[name]), second]
            text = _introduced(rng, words)
            return Statement(text, (*facts, *more, Related(told, name, told_second)))
    return attributes(scene, rng)


def _introduced(rng: np.random.Generator, words: list[str]) -> str:
    """'there is A above B', 'A is above B', or 'A above B'."""
    if words[0].startswith("a") and rng.random() < 0.35:
        words = [pick(rng, LEAD), *words]
    elif rng.random() < 0.5:
        words = [words[0], usual(rng, VERB), *words[1:]]
    return " ".join(words)


def counts(scene: Scene, rng: np.random.Generator) -> Statement:
    """How many objects there are: of each shape, of each colour, or in all."""
    name = pick(rng, ("shape", "shape", "colour", None))
    values = {getattr(thing, name): None for thing in scene.objects} if name else {None: None}
    whats = [Description(**{name: value}) if name else Description() for value in values]
    numbers = [len(scene.find(what)) for what in whats]
    told = [some(rng, number, what) for number, what in zip(numbers, whats, strict=True)]
    text = joined([words for words, _ in told])
    if rng.random() < 0.5:
        text = f"{pick(rng, LEAD if numbers[0] == 1 else LEAD_MANY)} {text}"
    return _on_background(scene, rng, text, [fact for _, fact in told])


def attributes(scene: Scene, rng: np.random.Generator) -> Statement:
    """One object in detail, with its place in the image or the background."""
    index = int(rng.random() * len(scene.objects))
    phrase, what, facts = noun_phrase(scene, index, rng, detail=0.8)
    places = [place for place in PLACES if scene.placed(index, place)]
    if places and rng.random() < 0.5:
        place = pick(rng, places)
        text = _introduced(rng, [phrase, usual(rng, PLACE[place])])
        return Statement(text, (*facts, Placed(what, place)))
    text = f"{pick(rng, LEAD)} {phrase}" if rng.random() < 0.5 else phrase
    return _on_background(scene, rng, text, list(facts))


def selection(scene: Scene, rng: np.random.Generator) -> Statement:
    """Some of the objects, in any order."""
    things = shuffled(rng, range(len(scene.objects)))[: pick(rng, (2, 3))]
    phrases = [noun_phrase(scene, i, rng, unique=0.0) for i in things]
    text = joined([phrase for phrase, _, _ in phrases])
    if rng.random() < 0.5:
        text = f"{pick(rng, LEAD)} {text}"
    together = Together(tuple(what for _, what, _ in phrases))
    return _on_background(scene, rng, text, [together])


def _on_background(
    scene: Scene, rng: np.random.Generator, text: str, facts: list[Fact]
) -> Statement:
    """The sentence, sometimes with the background, where there is room for it."""
    where = usual(rng, BACKGROUND[scene.background.kind])
    if rng.random() < 0.5 and len(f"{text} {where}".split()) <= MOST_WORDS:
        return Statement(f"{text} {where}", (*facts, On(scene.background.kind)))
    return Statement(text, tuple(facts))


KINDS: tuple[Kind, ...] = (
    relation,
    counts,
    attributes,
    selection,
    relation,
)
