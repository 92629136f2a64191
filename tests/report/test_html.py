import base64
import io

import numpy as np
import pytest
from PIL import Image

from albef_jax.inference.masked_words import MaskedWord
from albef_jax.report.html import data_uri, mark


def decode(uri):
    head, data = uri.split(",")
    return head, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_small_images_stay_exact():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    head, found = decode(data_uri(image))
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(found, image)


def test_large_images_are_compressed():
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    image = np.broadcast_to(ramp[:, None, None], (256, 256, 3)).copy()
    head, found = decode(data_uri(image))
    assert head == "data:image/jpeg;base64"
    assert np.abs(found.astype(int) - image).max() < 12


def words(**positions):
    return [MaskedWord(place, word, []) for word, place in positions.items()]


def masked(parts):
    return [text for text, is_masked in parts if is_masked]


def test_parts_join_to_the_caption():
    caption = "A Red, red ball."
    parts = mark(caption, words(ball=4, red=2))
    assert "".join(text for text, _ in parts) == caption
    assert masked(parts) == ["Red", "ball"]


@pytest.mark.parametrize(("position", "start"), [(2, "a "), (5, "a red ball and ")])
def test_a_repeated_word_is_marked_where_its_position_points(position, start):
    parts = mark("a red ball and red star", words(red=position))
    assert parts[0] == (start, False)


def test_adjacent_and_outer_words():
    assert mark("red ball", words(red=1, ball=2)) == [("red", True), (" ", False), ("ball", True)]


def test_a_word_is_not_found_inside_another():
    assert masked(mark("a redder red", words(red=2))) == ["red"]


def test_a_word_that_the_caption_spells_differently_is_not_marked():
    assert mark("a café", words(cafe=2)) == [("a café", False)]
