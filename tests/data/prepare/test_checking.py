import io

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.prepare import checking
from albef_jax.data.prepare.checking import NOT_RGB, TINY, TWICE, UNUSABLE, WORDLESS, check
from albef_jax.data.prepare.lengths import Lengths
from albef_jax.data.records import EncodedPair, TwoImages
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.errors import BadSample


def jpeg(seed, height=40, width=60, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG")
    return file.getvalue()


class Files:
    """A source of files in memory."""

    def __init__(self, *items):
        self.items = [item if isinstance(item, tuple) else (item, ("a dog",)) for item in items]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        raise AssertionError("bytes can be had")

    def encoded(self, index):
        data, captions = self.items[index]
        return EncodedPair(f"{index}.jpg", data, captions, index)


def checked(source, indices=None, max_words=30):
    lengths = Lengths(Tokenizer("scenes", 2), max_words=max_words)
    indices = range(len(source)) if indices is None else indices
    return check(source, lengths, smallest=32, threads=2, indices=indices)


def test_clean_data_have_no_findings():
    findings = checked(Files(jpeg(0), jpeg(1)))
    assert findings.found == [] and findings.checked == 2
    assert findings.lengths.tokens.total() == 2


@pytest.mark.parametrize(
    ("item", "kind", "detail"),
    [
        (b"", UNUSABLE, "the file is empty (0 bytes)"),
        (jpeg(0)[:-900], UNUSABLE, "a truncated JPEG: it has no end"),
        ((jpeg(0), ("a dog", "?!")), WORDLESS, "nothing is left of '?!' after cleaning"),
        (jpeg(0, 20), TINY, "60 x 20 pixels"),
        (jpeg(0, mode="CMYK"), NOT_RGB, "JPEG in mode CMYK"),
    ],
)
def test_each_kind_is_found_and_named(item, kind, detail):
    (found,) = checked(Files(jpeg(9), item)).found
    assert found == (kind, "1.jpg", detail)


def test_images_that_are_there_twice_are_named():
    found = checked(Files(jpeg(0), jpeg(1), jpeg(0), jpeg(2), jpeg(0))).found
    assert found == [(TWICE, "0.jpg", "the same image as 2.jpg, 4.jpg")]


def test_items_of_one_name_are_no_duplicates():
    class OneName(Files):
        def encoded(self, index):
            return EncodedPair("a.jpg", jpeg(0), ("a dog",), 0)

    assert checked(OneName(None, None)).found == []


def test_only_the_given_items_are_checked():
    findings = checked(Files(b"", jpeg(0), b""), [1, 2])
    assert findings.checked == 2
    assert [one.name for one in findings.found] == ["2.jpg"]


def test_order_and_findings_do_not_depend_on_how_many_are_read_ahead(monkeypatch):
    source = Files(*[b"" if number % 3 else jpeg(number) for number in range(10)])
    expected = checked(source).found
    monkeypatch.setattr(checking, "_AHEAD", 3)
    assert checked(source).found == expected
    assert [one.name for one in expected] == [f"{n}.jpg" for n in range(10) if n % 3]


def test_tokens_are_counted_as_training_sees_them_and_words_all():
    findings = checked(Files((jpeg(0), ("red blue green circle",))), max_words=2)
    assert findings.lengths.words == {4: 1}
    assert findings.lengths.tokens == {3: 1}


def test_both_images_of_a_statement_are_looked_at():
    class Two:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index:
                raise BadSample("b", "is bad")
            large, small = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 8, 3), np.uint8)
            return TwoImages("a", large, small, "One is red.", 1)

    findings = checked(Two())
    assert findings.found == [(TINY, "a", "8 x 40 pixels"), (UNUSABLE, "b", "is bad")]
    assert findings.lengths.words == {3: 1}


def test_every_item_is_told_of():
    told = []
    lengths = Lengths(Tokenizer("scenes", 2))
    source = Files(jpeg(0), b"", jpeg(1))
    check(
        source,
        lengths,
        smallest=1,
        threads=1,
        indices=range(3),
        looked_at_one=lambda: told.append(1),
    )
    assert len(told) == 3
