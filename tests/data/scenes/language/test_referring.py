"""Referring expressions: they fit one object by an independent reading; boxes fit the pixels."""

import re
from dataclasses import replace

import numpy as np
import pytest

from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.language.referring import MOST_IOU, iou, pixel_box
from albef_jax.data.scenes.task_sources import ScenesReferring
from tests.helpers.task_reader import meant

SIZE = 96


@pytest.fixture(scope="module")
def told():
    keys = [(split, i) for split in ("train", "val", "test") for i in range(500)]
    return [ScenesReferring(split, 500, SIZE, seed=4).told(i) for split, i in keys]


@pytest.fixture(scope="module")
def records():
    source = ScenesReferring("val", 150, SIZE)
    return [(source.told(i), source[i]) for i in range(150)]


def test_an_expression_fits_one_object_alone(told):
    for one in told:
        (thing,) = meant(one.text, one.scene)
        assert thing is one.scene.objects[one.index], one


def test_there_are_others_to_be_mistaken_for(told):
    assert all(len(one.scene.objects) > 1 for one in told)


def test_expressions_are_short_and_of_all_sorts(told):
    texts = [one.text for one in told]
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", text) for text in texts)
    assert max(len(text.split()) for text in texts) <= 16
    for words in (r" on the left$", r" at the top$", r" above the ", r" next to the ", r"^the "):
        assert sum(bool(re.search(words, text)) for text in texts) > 5, words
    plain = [re.fullmatch(r"(the )?(\w+ )?\w+", text) for text in texts]
    assert 0.3 < np.mean([match is not None for match in plain]) < 0.9


def test_the_box_is_where_the_image_shows_the_object(records):
    for one, record in records[:60]:
        scene = one.scene
        rest = tuple(t for i, t in enumerate(scene.objects) if i != one.index)
        hidden = [scene.hidden(one.index, front) for front in range(len(scene.objects))]
        if any(hidden):
            continue
        without = render(replace(scene, objects=rest), SIZE).astype(int)
        ys, xs = np.nonzero(np.abs(record.image - without).sum(axis=2) > 90)
        seen = xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
        assert iou(seen, record.box) > 0.6, (one.text, seen, record.box)


def test_one_candidate_alone_counts_as_found(records):
    for _, record in records:
        overlaps = [iou(box, record.box) for box in record.candidates.tolist()]
        assert sum(overlap >= MOST_IOU for overlap in overlaps) == 1
        assert max(overlaps) == pytest.approx(1, abs=1e-4)


def test_candidates_are_all_objects_and_a_few_more_in_random_order(records):
    places = set()
    for one, record in records:
        boxes = record.candidates
        assert boxes.dtype == np.float32
        assert 2 <= len(boxes) - len(one.scene.objects) <= 4
        for thing in one.scene.objects:
            assert np.isclose(boxes, pixel_box(thing, SIZE), atol=1e-3).all(axis=1).sum() == 1
        assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= SIZE + 1e-3).all()
        assert (boxes[:, 2:] > 4).all()
        places.add(int(np.argmax([iou(box, record.box) for box in boxes.tolist()])))
    assert places >= set(range(5))


def test_training_shows_no_boxes():
    record = ScenesReferring("train", 5, SIZE)[3]
    assert (record.box, record.ref_id, record.split, record.image_id) == (None, -1, "train", 3)
    assert record.candidates.shape == (0, 4)


def test_evaluation_numbers_its_expressions_and_names_its_split(records):
    assert [record.ref_id for _, record in records[:3]] == [0, 1, 2]
    assert {record.split for _, record in records} == {"val"}
    assert ScenesReferring("test", 5, SIZE)[0].split == "test"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (1, 0, 2, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 2, 2), 0),
        ((0, 0, 4, 4), (1, 1, 1, 2), 1 / 8),
    ],
)
def test_iou(first, second, expected):
    assert iou(first, second) == pytest.approx(expected)


def test_the_expressions_do_not_move_between_versions():
    # Official numbers on this world refer to these expressions: do not edit, find out what moved.
    source = ScenesReferring("val", 100, 64)
    assert [(source.told(i).text, source.told(i).index) for i in (0, 1, 2)] == [
        ("the blue triangle", 1),
        ("the star", 2),
        ("the triangle", 1),
    ]
