"""Web-like captions: as many as asked for, wrong where they talk about the scene."""

import re

import numpy as np
import pytest

from albef_jax.data.scenes.language.captions import MOST_WORDS, captions
from albef_jax.data.scenes.language.noise import UNRELATED, corrupt, unrelated
from albef_jax.data.scenes.world.graph import COLOURS
from albef_jax.data.scenes.world.sample import HELD_OUT, sample_scene
from albef_jax.data.scenes.world.shapes import SHAPES
from tests.helpers.scene_reader import is_true

OFF_TOPIC = [re.compile(line.replace("{number}", r"\d{4}")) for line in UNRELATED]


def off_topic(text):
    return any(pattern.fullmatch(text) for pattern in OFF_TOPIC)


@pytest.fixture(scope="module")
def spoiled():
    """(scene, caption) with every caption made web-like."""
    found = []
    for index in range(250):
        scene, rng = sample_scene(0, "train", index), np.random.default_rng(index)
        found += [(scene, text) for text in corrupt(captions(scene, rng), scene, rng, 1.0)]
    return found


def test_no_noise_changes_nothing():
    scene, rng = sample_scene(0, "train", 0), np.random.default_rng(0)
    texts = captions(scene, rng)
    assert corrupt(texts, scene, rng, 0.0) == texts


def test_the_share_of_changed_captions_is_the_noise():
    changed = []
    for index in range(200):
        scene, rng = sample_scene(0, "train", index), np.random.default_rng(index)
        texts = captions(scene, rng)
        changed += [a != b for a, b in zip(texts, corrupt(texts, scene, rng, 0.3), strict=True)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)


def test_web_like_captions_are_false_or_off_the_topic(spoiled):
    for scene, text in spoiled:
        assert off_topic(text) or not is_true(text, scene), (text, scene)


def test_about_a_third_is_off_the_topic(spoiled):
    assert np.mean([off_topic(text) for _, text in spoiled]) == pytest.approx(0.36, abs=0.07)


def test_noise_does_not_give_held_out_combinations_away(spoiled):
    said = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")
    assert not {pair for _, text in spoiled for pair in said.findall(text)} & HELD_OUT


def test_web_like_captions_fit_too(spoiled):
    for _, text in spoiled:
        assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", text)
        pieces = sum(len(word) if word.isdigit() else 1 for word in text.split())
        assert pieces <= MOST_WORDS


def test_all_unrelated_lines_occur():
    rng = np.random.default_rng(0)
    texts = [unrelated(rng) for _ in range(400)]
    assert all(any(pattern.fullmatch(text) for text in texts) for pattern in OFF_TOPIC)


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_a_noise_that_is_no_share_is_refused(noise):
    scene = sample_scene(0, "train", 0)
    with pytest.raises(ValueError, match="share between 0 and 1"):
        corrupt(("a",), scene, np.random.default_rng(0), noise)
