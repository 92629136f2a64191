"""Outlines, extents and hidden shares against plain geometry."""

import cv2
import numpy as np
import pytest

from albef_jax.data.scenes.world.shapes import SHAPES, extent, filled, hidden_share, outline


@pytest.mark.parametrize("shape", SHAPES)
def test_outline_stays_in_its_square_and_fills_a_fair_part(shape):
    for contour in outline(shape):
        assert np.abs(contour).max() <= 1.02
    outer, *holes = outline(shape)
    area = cv2.contourArea(outer.astype(np.float32))
    area -= sum(cv2.contourArea(hole.astype(np.float32)) for hole in holes)
    assert 1.0 < area < 3.2
    assert filled(shape, 128).mean() * 4 == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_extent_is_where_the_filled_pixels_are(shape):
    rows, columns = np.nonzero(filled(shape, 400, reach=1.25) > 0.5)
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(seen / 400 * 2.5 - 1.25, extent(shape), atol=0.02)


def test_unknown_shape_is_named():
    with pytest.raises(ValueError, match="'cube' is none of ball, square"):
        outline("cube")


def test_a_shape_hides_itself_wholly_and_far_ones_not_at_all():
    assert hidden_share("star", 0.1, "star", 0.1, 0, 0) > 0.98
    assert hidden_share("star", 0.1, "ball", 0.1, 0.2, 0.0) == 0
    assert hidden_share("ball", 0.1, "square", 0.2, 5.0, 0.0) == 0


def test_half_a_square_is_hidden_by_a_square_moved_by_half():
    assert hidden_share("square", 1, "square", 1, 0.84, 0) == pytest.approx(0.5, abs=0.03)
    assert hidden_share("square", 1, "square", 1, 0.84, 0.84) == pytest.approx(0.25, abs=0.03)


def test_two_overlapping_balls_against_the_lens_formula():
    r, d = 0.94, 1.0
    lens = 2 * r**2 * np.arccos(d / (2 * r)) - d / 2 * np.sqrt(4 * r**2 - d**2)
    share = hidden_share("ball", 0.1, "ball", 0.1, 0.06, -0.08)
    assert share == pytest.approx(lens / (np.pi * r**2), abs=0.02)


def test_a_small_ball_in_the_hole_of_a_ring_stays_visible():
    assert hidden_share("ball", 0.08, "ring", 0.2, 0, 0) == 0
    assert hidden_share("ball", 0.2, "ring", 0.2, 0, 0) > 0.6
