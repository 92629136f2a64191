import json

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.by_image import PairsByImage
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.errors import BadSample

FLAT = [
    ("b.png", "one", 4),
    ("a.png", "two", 2),
    ("b.png", ["three", " "], 4),
    ("gone.png", "four", 9),
    ("a.png", ["five", "six"], 2),
]


@pytest.fixture(params=["with ids", "by path"])
def pairs(tmp_path, request):
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / name)
    items = [
        {"image": image, "caption": caption}
        | ({"image_id": number} if "ids" in request.param else {})
        for image, caption, number in FLAT
    ]
    (tmp_path / "flat.json").write_text(json.dumps(items))
    return PairsByImage(JsonPairs([tmp_path / "flat.json"], tmp_path))


def test_rows_of_an_image_are_joined(pairs):
    assert len(pairs) == 3
    assert pairs[0].captions == ("one", "three")
    assert pairs[1].captions == ("two", "five", "six")
    assert [int(pairs[place].image[0, 0, 0]) for place in (0, 1)] == [1, 0]
    assert pairs.dropped_empty_captions == 1
    assert pairs.notes[-1] == "the 5 rows show 3 images"


def test_an_image_that_is_missing_is_one_bad_sample(pairs):
    with pytest.raises(BadSample, match="gone"):
        pairs[2]


def test_ids_are_those_of_the_rows(pairs):
    assert len(np.unique([pairs[place].image_id for place in (0, 1)])) == 2


def test_a_grouped_list_stays_as_it_is(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps([{"image": "a.png", "caption": ["x", "y"]}]))
    pairs = PairsByImage(JsonPairs([tmp_path / "a.json"], tmp_path))
    assert len(pairs) == 1 and pairs[0].captions == ("x", "y") and not pairs.notes


@pytest.mark.parametrize("upright", [False, True])
def test_images_are_turned_as_those_of_the_list(tmp_path, upright):
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=turned)
    (tmp_path / "a.json").write_text(json.dumps([{"image": "a.jpg", "caption": "x"}]))
    pairs = JsonPairs([tmp_path / "a.json"], tmp_path)
    pairs.upright = upright
    assert PairsByImage(pairs)[0].image.shape == ((8, 6, 3) if upright else (6, 8, 3))
