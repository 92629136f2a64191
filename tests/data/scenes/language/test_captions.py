"""Captions: true by an independent reading, short enough, clean, and varied."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from albef_jax.data.scenes.language.captions import KINDS, MOST_WORDS, captions, full, statements
from albef_jax.data.scenes.language.words import joined, plural, with_article
from albef_jax.data.scenes.world.draw import CAPTION, stream
from albef_jax.data.scenes.world.graph import COLOURS, Background, Scene, SceneObject
from albef_jax.data.scenes.world.sample import sample_scene
from tests.helpers.scene_reader import is_true


@pytest.fixture(scope="module")
def told():
    """Scenes of all splits, each with twelve statements."""
    keys = [(split, index) for split in ("train", "val", "test") for index in range(150)]
    return [
        (sample_scene(1, *key), statements(sample_scene(1, *key), stream(1, *key, CAPTION), 12))
        for key in keys
    ]


def test_captions_are_true_by_an_independent_reading(told):
    for scene, made in told:
        for statement in made:
            assert is_true(statement.text, scene), (statement.text, scene)


def test_captions_are_true_by_their_own_facts(told):
    assert all(statement.judge(scene) for scene, made in told for statement in made)


def test_the_reader_and_the_facts_agree_on_other_scenes(told):
    """Statements read against the next scene: where the facts are sure, the reader agrees."""
    answers: Counter[bool | None] = Counter()
    for (_, made), (other, _) in pairwise(told):
        for statement in made[1:]:
            answer = statement.judge(other)
            answers[answer] += 1
            if answer is not None:
                assert is_true(statement.text, other) is answer, (statement, other)
    assert answers[True] > 50
    assert answers[False] > 1000


def test_captions_are_short_and_clean(told):
    for _, made in told:
        for statement in made:
            assert re.fullmatch(r"[a-z]+( [a-z]+)*", statement.text)
            assert len(statement.text.split()) <= MOST_WORDS


def test_the_first_caption_names_every_object_in_usual_words(told):
    for scene, made in told:
        said = Counter(re.findall(rf"({'|'.join(COLOURS)}) (\w+)", made[0].text))
        assert said == Counter((thing.colour, thing.shape) for thing in scene.objects)


def test_six_objects_with_every_detail_still_fit():
    things = [
        SceneObject("triangle", "orange", "small", "checked", 0.1 + 0.15 * i, 0.5, 0.06)
        for i in range(6)
    ]
    scene = Scene(tuple(things), Background("paper"))
    for seed in range(50):
        text = full(scene, np.random.default_rng(seed)).text
        assert text.startswith("from left to right a")
        assert len(text.split()) <= MOST_WORDS


def test_the_first_caption_claims_an_order_only_where_it_shows():
    pair = [
        SceneObject(s, "red", "small", "plain", 0.5, y, 0.1)
        for s, y in (("star", 0.2), ("ball", 0.8))
    ]
    stacked = Scene(tuple(pair), Background("sky"))
    apart = replace(stacked, objects=(pair[0], replace(pair[1], x=0.2)))
    rng = np.random.default_rng(0)
    assert "left" not in full(stacked, rng).text
    assert re.match(r"from left to right an? .*ball and a .*star", full(apart, rng).text)


def test_the_same_stream_gives_the_same_captions_and_count_is_kept():
    scene = sample_scene(0, "train", 0)
    texts = [captions(scene, stream(0, "train", 0, CAPTION), count) for count in (1, 5, 5, 9)]
    assert [len(text) for text in texts] == [1, 5, 5, 9]
    assert texts[1] == texts[2]


def test_five_captions_are_five_sentences(told):
    for scene, _ in told[:200]:
        assert len(set(captions(scene, np.random.default_rng(0)))) == 5


def test_every_kind_copes_with_a_single_object():
    scene = replace(sample_scene(0, "train", 0), objects=sample_scene(0, "train", 0).objects[:1])
    for kind in KINDS:
        for seed in range(30):
            statement = kind(scene, np.random.default_rng(seed))
            assert statement.judge(scene) is True
            assert is_true(statement.text, scene)


def test_the_grammar_uses_all_its_means(told):
    text = " | ".join(statement.text for _, made in told for statement in made)
    for words in ("to the left of", "above", "in front of", "next to", "three stars", "crosses"):
        assert words in text
    for words in ("with stripes", "the tiny", "we see", "here are", "hoop", "at the top", "violet"):
        assert words in text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (with_article("orange ball"), "an orange ball"),
        (with_article("red ball"), "a red ball"),
        (plural("cross"), "crosses"),
        (plural("star"), "stars"),
        (joined(["a ball"]), "a ball"),
        (joined(["a", "b", "c"]), "a b and c"),
    ],
)
def test_small_words(made, expected):
    assert made == expected
