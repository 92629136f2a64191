"""Converts rows of device arrays to the results of a model's methods.

Shape letters: T text tokens, h patches a side, H and W an image's height and width.
"""

import jax
import numpy as np

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.heat_maps.boxes import enlarge
from albef_jax.inference.heat_maps.word_heat import by_word
from albef_jax.inference.outputs import Grounded, Ranked

Answers = list[tuple[str, float]]


def ranking(similarity: np.ndarray, order: np.ndarray, itm: np.ndarray) -> list[Ranked]:
    """All candidates of a query, those with a match probability first.

    Args:
        similarity: of the candidates.
        order: their places, the most similar first.
        itm: probabilities of a match of the first in `order`, as many as were re-ranked.
    """
    again = np.argsort(-itm, kind="stable")
    first = [Ranked(int(order[place]), float(itm[place]), "itm") for place in again]
    rest = [Ranked(int(at), float(similarity[at]), "itc") for at in order[len(itm) :]]
    return first + rest


def told_answers(
    tokenizer: Tokenizer, listed: tuple[str, ...], k: int, row: tuple[np.ndarray, ...]
) -> Answers:
    """The k best answers of a row of `Ranked`, or the one of a row of `Generated`.

    Args:
        listed: the answers that were ranked; empty if one was generated.
    """
    if not listed:
        ids, score = row
        return [(tokenizer.decode(ids), float(np.exp(score)))]
    places, shares, _ = row
    return [(listed[at], float(share)) for at, share in zip(places[:k], shares[:k], strict=True)]


def grounded(
    pieces: list[str], maps: np.ndarray, logits: np.ndarray, size: tuple[int, int]
) -> Grounded:
    """Heat maps of a text and its words at the size of the image.

    Args:
        pieces: WordPieces of the text without `[CLS]`.
        maps: `[T, h, h]`.
        logits: of the match, `[2]`.
        size: H and W.
    """
    whole, words = by_word(pieces, maps)

    def large(heat: np.ndarray) -> np.ndarray:
        return np.maximum(enlarge(heat, *size), 0)

    share = float(np.asarray(jax.nn.softmax(logits))[1])
    return Grounded(large(whole), [(word, large(heat)) for word, heat in words], share)
