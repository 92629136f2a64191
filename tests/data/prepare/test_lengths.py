import pytest

from albef_jax.data.prepare.lengths import Lengths, as_json, longer_than, percentile
from albef_jax.data.tokenizer import Tokenizer


def test_words_and_tokens_are_counted_uncut():
    lengths = Lengths(Tokenizer("bert-base-uncased", 3))
    lengths.add(["A dog, playing!", "unbelievably long " * 40])
    assert lengths.words == {3: 1, 80: 1}
    assert lengths.tokens[4] == 1
    assert max(lengths.tokens) > 81


def test_percentile_is_the_smallest_length_that_holds_the_share():
    histogram = {5: 90, 7: 9, 30: 1}
    assert [percentile(histogram, share) for share in (0.5, 0.9, 0.91, 0.99, 1.0)] == [
        5,
        5,
        7,
        7,
        30,
    ]
    assert percentile({}, 0.99) == 0


def test_the_share_that_is_longer():
    assert longer_than({5: 90, 7: 9, 30: 1}, 6) == pytest.approx(0.1)
    assert longer_than({}, 6) == 0


def test_histograms_are_written_in_order_of_length():
    assert list(as_json({30: 1, 5: 2}).items()) == [("5", 2), ("30", 1)]
