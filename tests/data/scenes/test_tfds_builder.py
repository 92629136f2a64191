"""The built-in world, written as a TFDS data set and read back."""

import numpy as np
import pytest

from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.shards.tfds import TfdsPairs


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    import tensorflow_datasets as tfds

    from albef_jax.data.scenes.tfds_builder import Scenes

    tfds.disable_progress_bar()
    root = tmp_path_factory.mktemp("tfds")
    world = {"seed": 3, "most_objects": 4, "captions_per_image": 2}
    Scenes(root, train=9, val=4, image_size=32, **world).download_and_prepare()
    return root, world


@pytest.mark.parametrize(("split", "size"), [("train", 9), ("val", 4)])
def test_every_pair_comes_back(built, split, size):
    root, world = built
    pairs = TfdsPairs([f"scenes:{split}"], root)
    source = ScenesSource(split, size, 32, **world)
    found = {pair.image_id: pair for pair in (pairs[index] for index in range(len(pairs)))}
    assert sorted(found) == list(range(size))
    for index, pair in found.items():
        assert np.array_equal(pair.image, source[index].image)
        assert pair.captions == source[index].captions


def test_objects_are_told_with_their_boxes(built):
    import tensorflow_datasets as tfds

    root, world = built
    source = ScenesSource("train", 9, 32, **world)
    rows = tfds.builder_from_directory(root / "scenes" / "1.0.0").as_data_source("train")
    for row in rows:
        things = source.scene(int(row["image_id"])).objects
        told = row["objects"]
        assert [name.decode() for name in told["colour"]] == [thing.colour for thing in things]
        assert [name.decode() for name in told["shape"]] == [thing.shape for thing in things]
        boxes = np.array([thing.box for thing in things])[:, [1, 0, 3, 2]].clip(0, 1)
        assert np.allclose(told["box"], boxes)
