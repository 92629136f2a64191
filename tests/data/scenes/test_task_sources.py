"""What the four task sources have in common: names, determinism, held-out combinations."""

import pickle

import numpy as np
import pytest

from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.language.questions import ANSWERS
from albef_jax.data.scenes.task_sources import (
    ScenesQuestions,
    ScenesReferring,
    ScenesSentences,
    ScenesTwoImages,
)
from albef_jax.data.scenes.world.sample import HELD_OUT

SOURCES = [ScenesQuestions, ScenesSentences, ScenesTwoImages, ScenesReferring]
all_sources = pytest.mark.parametrize("source", SOURCES)


def scenes_of(told):
    return [told.left, told.right] if hasattr(told, "left") else [told.scene]


def fields(record):
    return [np.asarray(value).tolist() for value in vars(record).values()]


@all_sources
def test_the_same_key_gives_the_same_record_in_any_order(source):
    first, again = (
        source("test", 50, 32, seed=7),
        pickle.loads(pickle.dumps(source("test", 50, 32, 7))),
    )
    records = [fields(first[index]) for index in (5, 0, 49)]
    assert records == [fields(again[index]) for index in (49, 0, 5)][::-1]


@all_sources
def test_seed_split_and_index_each_change_the_record(source):
    keys = [("val", 0, 3), ("val", 1, 3), ("test", 0, 3), ("val", 0, 4), ("train", 0, 3)]
    told = [repr(source(split, 9, 32, seed).told(index)) for split, seed, index in keys]
    assert len(set(told)) == len(keys)


@all_sources
def test_a_longer_epoch_starts_with_the_shorter_one(source):
    short, long = source("train", 3, 32), source("train", 10**12, 32)
    assert short.told(2) == long.told(2)
    assert long[10**12 - 1].name.endswith("/999999999999")
    assert len(long) == 10**12


@all_sources
def test_training_never_shows_a_held_out_combination_and_half_of_the_rest_does(source):
    shares = {}
    for split in ("train", "val", "test"):
        scenes = [scene for i in range(400) for scene in scenes_of(source(split, 400, 32).told(i))]
        shown = [{(t.colour, t.shape) for t in scene.objects} & HELD_OUT for scene in scenes]
        shares[split] = np.mean([bool(combinations) for combinations in shown])
    assert shares["train"] == 0
    assert 0.36 < shares["val"] < 0.6 and 0.36 < shares["test"] < 0.6


@all_sources
def test_items_with_a_held_out_combination_are_known(source):
    """By name, in any object of any scene, as the descriptions of all objects tell it."""
    held_out = {f"{colour} {shape}" for colour, shape in HELD_OUT}
    found = source("val", 60, 32)
    for index in range(60):
        told = [t for scene in scenes_of(found.told(index)) for t in scene.objects]
        assert found.unseen(index) == any(f"{t.colour} {t.shape}" in held_out for t in told)
    unseen = [found.unseen(index) for index in range(60)]
    assert 20 < sum(unseen) < 55
    assert not any(source("train", 60, 32).unseen(index) for index in range(60))


@all_sources
@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_refused(source, index):
    with pytest.raises(IndexError, match=f"no index {index} among 3 scenes"):
        source("val", 3, 32)[index]


@all_sources
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "dev"}, "'dev' is none of train, val, test"),
        ({"size": 0}, "size 0 must be 1 or more"),
        ({"image_size": 8}, "image_size 8 must be 16 or more"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(source, change, message):
    with pytest.raises(ValueError, match=message):
        source(**{"split": "train", "size": 3, "image_size": 32, **change})


def test_a_question_shows_its_scene_and_has_one_answer():
    source = ScenesQuestions("val", 20, 48)
    told, record = source.told(7), source[np.int64(7)]
    assert record.name == "scenes/val/question/7"
    assert (record.question, record.answers, record.kind) == (told.text, (told.answer,), told.kind)
    assert (record.dataset, record.question_id) == ("vqa", 7)
    assert type(record.question_id) is int and record.answers[0] in ANSWERS
    np.testing.assert_array_equal(record.image, render(told.scene, 48))


def test_a_sentence_shows_its_scene():
    source = ScenesSentences("val", 20, 48)
    told, record = source.told(7), source[7]
    assert record.name == "scenes/val/sentence/7"
    assert (record.sentence, record.label) == (told.text, told.label)
    np.testing.assert_array_equal(record.image, render(told.scene, 48))


def test_a_statement_shows_both_scenes_on_their_sides():
    source = ScenesTwoImages("val", 20, 48)
    told, record = source.told(7), source[7]
    assert record.name == "scenes/val/two_images/7"
    assert (record.sentence, record.label) == (told.text, int(told.label))
    assert type(record.label) is int
    np.testing.assert_array_equal(record.left, render(told.left, 48))
    np.testing.assert_array_equal(record.right, render(told.right, 48))


def test_an_expression_shows_its_scene_and_the_box_of_its_object():
    source = ScenesReferring("val", 20, 48)
    told, record = source.told(7), source[7]
    assert (record.name, record.text) == ("scenes/val/referring/7", told.text)
    np.testing.assert_array_equal(record.image, render(told.scene, 48))
    x0, y0, x1, y1 = told.scene.objects[told.index].box
    assert record.box == pytest.approx((48 * x0, 48 * y0, 48 * (x1 - x0), 48 * (y1 - y0)))


@pytest.mark.parametrize("source", [ScenesQuestions, ScenesSentences, ScenesTwoImages])
@pytest.mark.parametrize("objects", [1, 2])
def test_worlds_of_few_objects_are_served(source, objects):
    """Kinds that ask for more objects than there are give way to others."""
    told = [source("train", 200, 32, 0, most_objects=objects).told(index) for index in range(200)]
    shown = {len(scene.objects) for one in told for scene in scenes_of(one)}
    assert shown == set(range(1, objects + 1))
    assert len({one.text for one in told}) > 50
