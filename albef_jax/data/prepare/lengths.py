"""Lengths of texts, in words and in tokens."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from albef_jax.data.tokenizer import Tokenizer, clean_caption

_UNCUT = 2**31


class Lengths:
    """Two histograms of text lengths.

    Args:
        tokenizer: whose tokens are counted, `[CLS]` included, not cut at its width.
        clean: the cleaning before tokenization, as in training.
        max_words: that are kept before tokens are counted; None for all.

    Attributes:
        words: number of texts by their number of words, after cleaning, all of them.
        tokens: number of texts by their number of tokens.
        unknown: how many of all tokens are not in the vocabulary.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        clean: Callable[[str, int], str] = clean_caption,
        max_words: int | None = None,
    ):
        self.words: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        self.unknown = 0
        self._tokenizer, self._clean = tokenizer, clean
        self._max_words = _UNCUT if max_words is None else max_words

    def add(self, texts: Iterable[str]) -> None:
        """Count texts as written."""
        for text in texts:
            cleaned = self._clean(text, _UNCUT)
            kept = self._clean(text, self._max_words) if self._max_words < _UNCUT else cleaned
            ids, _ = self._tokenizer.encode([kept], fixed_width=False, truncate=False)
            self.words[len(cleaned.split())] += 1
            self.tokens[ids.shape[1]] += 1
            self.unknown += int((ids == self._tokenizer.unk_id).sum())


def percentile(histogram: Mapping[int, int], share: float) -> int:
    """The smallest length that at least `share` of the texts do not exceed."""
    needed, seen = share * sum(histogram.values()), 0
    for length in sorted(histogram):
        seen += histogram[length]
        if seen >= needed:
            return length
    return 0


def longer_than(histogram: Mapping[int, int], length: int) -> float:
    """The share of texts that are longer."""
    total = sum(histogram.values())
    return sum(count for key, count in histogram.items() if key > length) / max(1, total)


def as_json(histogram: Mapping[int, int]) -> dict[str, int]:
    """In order of length, as JSON has it."""
    return {str(length): histogram[length] for length in sorted(histogram)}
