"""Makes WordPiece vocabularies of few words, for small models on data of few words.

A model pays for every piece of its vocabulary, most of all in its heads: BERT's has 30,522.
"""

import string
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from albef_jax.data.tokenizer import SPECIALS, clean_question, split_words

READ = ("caption", "question", "answer", "sentence", "text")  # fields of annotations with texts
_CHARACTERS = string.ascii_lowercase + string.digits


def texts_of(item: Mapping[str, Any]) -> list[str]:
    """The texts of an annotation; all but answers as training cleans them."""
    found: list[str] = []
    for field in READ:
        given = item.get(field, [])
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{field!r} must be a text or a list of texts, not {given!r}")
        clean = field != "answer"
        found += [clean_question(text, len(text)) if clean else text for text in texts]
    return found


def pieces_of(texts: Iterable[str], size: int | None = None) -> list[str]:
    """The pieces of a vocabulary that spells every text.

    Args:
        texts: cleaned.
        size: the largest number of pieces; None for all words.

    Returns:
        Special tokens; characters, at the beginning of a word and inside (`##a`); and words, the
        most frequent first. Words that `size` leaves out are spelt in characters.

    Raises:
        ValueError: `size` has no room for the characters.
    """
    words = Counter(word for text in texts for word in split_words(text))
    characters = sorted({*_CHARACTERS, *(letter for word in words for letter in word)})
    pieces = [*SPECIALS, *characters, *(f"##{letter}" for letter in characters)]
    known = set(pieces)
    ordered = sorted(words, key=lambda word: (-words[word], word))
    pieces += [word for word in ordered if word not in known]
    if size is None:
        return pieces
    if size < (least := len(SPECIALS) + 2 * len(characters)):
        raise ValueError(f"{size} pieces are too few: the characters alone need {least}")
    return pieces[:size]
