"""The words of the built-in world, for its vocabulary `data/vocab/scenes.txt`.

That file is a WordPiece list: special tokens with BERT's ids, words, letters and digits, and then
words that came later. Its lines are the ids of trained models, so words are only ever appended.
"""

import re
from collections.abc import Iterable, Sequence

from albef_jax.data.scenes.language import words
from albef_jax.data.scenes.language.noise import UNRELATED

# What questions, statements over two images and entailment sentences need beside the captions.
TASK_WORDS = """
    all any are as at background both by can color colour colours contains count did do does
    each either every fewer first has have hold how image images in it its large left less many
    material more most neither no none nor not of number on other pair pattern picture pictures
    right same second see shape show shows side size some than that texture the their them there
    these they this those true false what where which who whose yes different equal least total
    between bigger smaller corner new old heavy soft cheap broken toy
    belongs child exactly likes morning painted someone
"""


def extended(tokens: Sequence[str]) -> list[str]:
    """The tokens of a vocabulary, followed by the words of the world that they lack."""
    return [*tokens, *sorted((_grammar() | set(TASK_WORDS.split())) - set(tokens))]


def _grammar() -> set[str]:
    """Every word that captions and noise are made of."""
    said: set[str] = set()
    for name in (
        "COLOUR",
        "SHAPE",
        "SIZE",
        "TEXTURE",
        "WEARING",
        "BACKGROUND",
        "RELATION",
        "PLACE",
    ):
        said |= _words(getattr(words, name).values())
    nouns = [noun for options in words.SHAPE.values() for noun in options] + [*words.ANY_SHAPE]
    said |= _words([nouns, map(words.plural, nouns), words.NUMBER, words.VERB, words.ARTICLES])
    said |= _words([words.LEAD, words.LEAD_MANY, [words.LEFT_TO_RIGHT], ["and"]])
    return said | _words([re.sub(r"{\w+}", "", line)] for line in UNRELATED)


def _words(entries: Iterable[str | Iterable[str]]) -> set[str]:
    """The single words of phrases and of groups of phrases."""
    groups = ([entry] if isinstance(entry, str) else entry for entry in entries)
    return {word for group in groups for phrase in group for word in phrase.split()}
