import json
import math
from pathlib import Path

import numpy as np
import pytest

from albef_jax.inference.heat_maps.boxes import (
    enlarge,
    grounding_accuracy,
    iou,
    is_found,
    pointing_game,
    rank_boxes,
)

TINY = Path(__file__).parents[2] / "golden" / "tiny"
RECORDED = json.loads((TINY / "grounding_eval.json").read_text("utf-8"))
SIZE = RECORDED["image_height"], RECORDED["image_width"]


def golden(name):
    with np.load(TINY / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def phrases():
    """Of each recorded phrase: heat map, candidates, truth, split."""
    boxes = [np.array(found)[:, :4] for found in RECORDED["detections_xywh_score"]]
    heatmaps = golden("grounding")["eval/heatmaps"]
    return list(zip(heatmaps, boxes, RECORDED["truth_boxes"], RECORDED["split"], strict=True))


def picks(phrases):
    return [int(rank_boxes(enlarge(heat, *SIZE), boxes)[0][0]) for heat, boxes, *_ in phrases]


def cubic(distance, a=-0.75):
    """The textbook's kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def enlarged_pixel(heatmap, row, column, height, width):
    """One pixel by definition: 4 x 4 cells around it, those beyond the edge repeated."""
    total = 0.0
    h, w = heatmap.shape
    y, x = (row + 0.5) * h / height - 0.5, (column + 0.5) * w / width - 0.5
    for i in range(math.floor(y) - 1, math.floor(y) + 3):
        for j in range(math.floor(x) - 1, math.floor(x) + 3):
            cell = heatmap[min(max(i, 0), h - 1), min(max(j, 0), w - 1)]
            total += cubic(y - i) * cubic(x - j) * cell
    return total


@pytest.mark.parametrize(("height", "width"), [(9, 13), (2, 3), (4, 5), (1, 1)])
def test_enlarging_by_definition(height, width):
    heatmap = np.random.default_rng(0).random((4, 5))
    found = enlarge(heatmap, height, width)
    assert found.shape == (height, width) and found.dtype == np.float32
    for row, column in np.ndindex(height, width):
        expected = enlarged_pixel(heatmap, row, column, height, width)
        assert found[row, column] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", ["4x4_to_6x6", "6x6_to_4x4", "14x14_to_16x16", "16x16_to_24x24"])
def test_enlarging_equals_the_recorded_interpolation(case):
    arrays = golden("pos_embed")
    before, after = (arrays[f"from_{case}_{when}"][0, 1:].T for when in ("before", "after"))
    old, new = (math.isqrt(grid.shape[1]) for grid in (before, after))
    for grid, expected in zip(before, after, strict=True):
        found = enlarge(grid.reshape(old, old), new, new)
        # Recorded in float32 throughout, from values up to 3; ours rounds at the end.
        np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-5)


def test_a_heat_map_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        enlarge(np.array([[0.0, np.nan]]), 4, 4)


def test_picks_equal_the_recorded_ones(phrases):
    """Recorded: which detections, were they the truth, would make the outcome right."""
    for (_, boxes, *_), pick, recorded in zip(
        phrases, picks(phrases), RECORDED["truth_at_detection_j_counts_as_correct"], strict=True
    ):
        assert [is_found(boxes[pick], box) for box in boxes] == recorded


def test_accuracy_equals_the_recorded_one(phrases):
    chosen = [boxes[pick] for (_, boxes, *_), pick in zip(phrases, picks(phrases), strict=True)]
    _, _, truths, splits = zip(*phrases, strict=True)
    found = grounding_accuracy(chosen, truths, splits)
    expected = {
        name.removesuffix("_d"): 100 * value for name, value in RECORDED["accuracy"].items()
    }
    assert found == expected


@pytest.mark.parametrize("case", RECORDED["iou"], ids=lambda case: str(case["box2"]))
def test_overlap_equals_the_recorded_one(case):
    assert iou(case["box1"], case["box2"]) == pytest.approx(case["iou"], rel=1e-12)


def test_an_overlap_of_one_pixel_column_counts_as_none():
    assert iou((0, 0, 10, 10), (9, 0, 10, 10)) == 0
    assert iou((0, 0, 10, 10), (8, 0, 10, 10)) == pytest.approx(20 / 180)


def test_boxes_are_ranked_by_heat_for_their_size():
    heat = np.zeros((10, 10))
    heat[2:4, 2:4] = 1.0
    boxes = np.array([[0, 0, 10, 10], [2, 2, 2, 2], [6, 6, 3, 3]])
    order, scores = rank_boxes(heat, boxes)
    assert order.tolist() == [1, 0, 2]
    np.testing.assert_allclose(scores, [4 / 10, 4 / 2, 0])
    order, scores = rank_boxes(heat, boxes, alpha=0.0)
    assert order.tolist() == [0, 1, 2]  # the first of equals
    np.testing.assert_allclose(scores, [4, 4, 0])


def test_fractions_of_pixels_are_cut_off():
    heat = np.arange(16.0).reshape(4, 4)
    _, scores = rank_boxes(heat, np.array([[0.9, 1.5, 1.2, 1.4]]), alpha=0.0)
    assert scores.tolist() == [heat[1:2, 0:2].sum()]


def test_a_box_that_reaches_beyond_the_image_is_cut():
    heat = np.ones((4, 4))
    _, scores = rank_boxes(heat, np.array([[-2, -3, 4, 5], [3, 3, 9, 9]]), alpha=0.0)
    assert scores.tolist() == [4, 1]


def test_the_first_best_box_wins_without_any_heat():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 1, 1]])
    assert rank_boxes(np.zeros((4, 4)), boxes)[0].tolist() == [0, 1]
    assert rank_boxes(-np.ones((4, 4)), boxes)[0].tolist() == [1, 0]


def test_no_boxes_are_ranked_as_none():
    order, scores = rank_boxes(np.ones((4, 4)), np.zeros((0, 4)))
    assert order.shape == scores.shape == (0,)


@pytest.mark.parametrize("flat", [[1, 1, 0, 2], [1, 1, 2, -1], [1, 1, np.nan, 1]])
def test_a_box_without_an_area_is_named(flat):
    with pytest.raises(ValueError, match=r"box 1, .* has no area"):
        rank_boxes(np.ones((4, 4)), np.array([[0, 0, 2, 2], flat]))


def test_a_phrase_without_boxes_is_not_found():
    truth = (0, 0, 4, 4)
    assert grounding_accuracy([None, truth], [truth, truth], ["val", "val"]) == {"val": 50}


def test_the_hottest_place_inside_the_box():
    heat = np.zeros((6, 8))
    heat[3, 5] = 1
    assert pointing_game(heat, (5, 3, 1, 1))
    assert not pointing_game(heat, (3, 5, 1, 1))  # x comes first
    assert not pointing_game(heat, (4, 2, 1, 1))


def test_a_tie_with_a_place_outside_is_lost():
    heat = np.zeros((4, 4))
    assert not pointing_game(heat, (0, 0, 2, 2))
    heat[0, 0] = heat[1, 1] = 1
    assert pointing_game(heat, (0, 0, 2, 2))
    assert not pointing_game(heat, (0, 0, 1, 1))


def test_a_box_around_the_whole_image_is_always_hit():
    assert pointing_game(np.zeros((4, 4)), (0, 0, 4, 4))
    assert not pointing_game(np.zeros((4, 4)), (9, 9, 2, 2))
