"""The built-in world behind the record interface."""

import pickle

import numpy as np
import pytest

from albef_jax.data.records import PairSource
from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.scenes.world.sample import sample_scene


def test_a_pair_is_named_numbered_and_shows_its_scene():
    source: PairSource = ScenesSource("val", size=10, image_size=48)
    pair = source[7]
    assert len(source) == 10
    assert (pair.name, pair.image_id, len(pair.captions)) == ("scenes/val/7", 7, 5)
    np.testing.assert_array_equal(pair.image, render(sample_scene(0, "val", 7), 48))


def test_equal_sources_give_equal_pairs_also_after_pickling():
    source = ScenesSource("train", size=50, image_size=32, seed=4, noise=0.5)
    for index in (0, 49):
        pair, again = source[index], pickle.loads(pickle.dumps(source))[index]
        assert pair.captions == again.captions
        np.testing.assert_array_equal(pair.image, again.image)


def test_a_longer_epoch_starts_with_the_shorter_one():
    short, long = (ScenesSource("train", size=n, image_size=32) for n in (3, 10**12))
    assert short[2].captions == long[2].captions
    assert long[10**12 - 1].name == "scenes/train/999999999999"


def test_scene_is_what_the_captions_tell():
    source = ScenesSource("test", size=5, image_size=32, captions_per_image=1)
    for index in range(5):
        for thing in source.scene(index).objects:
            assert f"{thing.colour} {thing.shape}" in source[index].captions[0]


def test_noise_changes_captions_and_never_the_image():
    clean, noisy = (ScenesSource("train", 40, 32, noise=noise) for noise in (0.0, 0.5))
    changed = [clean[i].captions[k] != noisy[i].captions[k] for i in range(40) for k in range(5)]
    assert 0.35 < np.mean(changed) < 0.65
    np.testing.assert_array_equal(clean[3].image, noisy[3].image)


def test_numpy_indices_give_plain_numbers():
    pair = ScenesSource("train", size=3, image_size=16)[np.int64(2)]  # type: ignore[index]
    assert (type(pair.image_id), pair.image_id, pair.name) == (int, 2, "scenes/train/2")


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_refused(index):
    with pytest.raises(IndexError, match=f"no index {index} among 3 scenes"):
        ScenesSource("train", size=3, image_size=16)[index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "dev"}, "'dev' is none of train, val, test"),
        ({"size": 0}, "size 0 must be 1 or more"),
        ({"image_size": 8}, "image_size 8 must be 16 or more"),
        ({"captions_per_image": 0}, "captions_per_image 0"),
        ({"seed": -1}, "seed -1"),
        ({"noise": 1.2}, "noise 1.2 must be a share"),
        ({"split": "val", "noise": 0.2}, "noise is for split 'train'"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        ScenesSource(**{"split": "train", "size": 3, "image_size": 32, **change})
