from pathlib import Path

import numpy as np
import pytest

from albef_jax.report import overlays
from albef_jax.report.overlays import CHOSEN, OTHER, TRUTH, boxes_over, heat_over, resized

STYLE = Path(overlays.__file__).with_name("templates") / "style.css"
GREY = np.full((40, 60, 3), 128, np.uint8)
NONE = np.zeros((0, 4))


def places(photo, color):
    """Left, top, right, bottom of the pixels of one colour."""
    rows, columns = np.nonzero((photo == color).all(axis=-1))
    return [int(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max())]


def has(photo, color):
    return bool((photo == color).all(axis=-1).any())


@pytest.mark.parametrize(
    ("shape", "expected"), [((40, 60), (80, 120)), ((640, 480), (120, 90)), ((1, 900), (1, 120))]
)
def test_the_longer_side_is_as_asked(shape, expected):
    assert resized(np.zeros((*shape, 3), np.uint8), 120).shape == (*expected, 3)


def test_heat_is_bright_where_the_map_is_high():
    heatmap = np.zeros((4, 6))
    heatmap[1, 4] = 3
    found = heat_over(GREY, heatmap, 120)
    assert found.shape == (80, 120, 3) and found.dtype == np.uint8
    light = found.astype(int).sum(axis=-1)
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert 20 <= row < 40 and 80 <= column < 100
    red, _, blue = found[row, column].astype(int)
    assert red > blue + 50  # yellow, so the channels are not swapped
    assert light[row, column] > light[60, 20] + 200


def test_each_map_has_its_own_scale():
    heatmap = np.random.default_rng(0).random((4, 6))
    np.testing.assert_array_equal(heat_over(GREY, heatmap), heat_over(GREY, 1000 * heatmap))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_heat_is_all_cold(value):
    found = heat_over(GREY, np.full((3, 3), value), 60)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1
    assert found.max() < 128


def test_the_image_shows_through():
    image = GREY.copy()
    image[:, 30:] = 255
    found = heat_over(image, np.ones((2, 2)), 60).astype(int)
    assert found[20, 50].sum() > found[20, 10].sum() + 50


def test_boxes_are_where_they_belong():
    truth, boxes = (10, 5, 20, 10), np.array([[30, 20, 20, 10], [4, 20, 10, 10]])
    found = boxes_over(GREY, boxes, 0, truth, side=120)  # twice the size
    for color, (x, y, width, height) in ((TRUTH, truth), (CHOSEN, boxes[0]), (OTHER, boxes[1])):
        expected = [2 * x, 2 * y, 2 * (x + width), 2 * (y + height)]
        assert np.abs(np.subtract(places(found, color), expected)).max() <= 2
    assert (found[40, 5] == 128).all()


def test_a_chosen_box_lets_the_true_one_show():
    box = (10, 10, 30, 20)
    found = boxes_over(GREY, np.array([box]), 0, box)
    assert has(found, TRUTH) and has(found, CHOSEN) and not has(found, OTHER)


def test_what_is_unknown_is_not_drawn():
    np.testing.assert_array_equal(boxes_over(GREY, NONE), resized(GREY, overlays.SIDE))
    others = boxes_over(GREY, np.array([[5, 5, 20, 20]]))
    assert has(others, OTHER) and not has(others, CHOSEN) and not has(others, TRUTH)


def test_a_box_beyond_the_edge_is_drawn_along_it():
    found = boxes_over(GREY, NONE, truth=(-9, -9, 99, 99), side=60)
    assert (found[:, 0] == TRUTH).all() and (found[-1] == TRUTH).all()


def test_the_image_itself_stays_as_it_was():
    image = GREY.copy()
    boxes_over(image, np.array([[5, 5, 20, 20]]), 0, (1, 1, 5, 5), side=60)
    np.testing.assert_array_equal(image, GREY)


def test_the_pages_key_has_the_same_colours():
    style = STYLE.read_text("utf-8")
    for name, color in (("truth", TRUTH), ("chosen", CHOSEN), ("other", OTHER)):
        (line,) = (line for line in style.splitlines() if line.startswith(f".{name} {{"))
        assert "#" + bytes(color).hex() in line
