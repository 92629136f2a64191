"""Why images are not found; and paths as Windows writes them."""

import json
import os

import pytest
from PIL import Image

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.images import paths


@pytest.fixture
def root(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / "train" / f"{number}.png")
    return tmp_path


def opened(root, images, image_root=None):
    file = root / "a.json"
    file.write_text(json.dumps([{"image": image, "caption": "a dog"} for image in images]))
    return JsonPairs([file], image_root or root)


def test_a_backslash_separates_where_no_file_has_it_in_its_name(root):
    pairs = opened(root, [f"train\\{number}.png" for number in range(3)])
    assert [int(pair.image[0, 0, 0]) for pair in pairs] == [0, 1, 2]
    Image.new("RGB", (8, 6), (9, 0, 0)).save(root / "train\\1.png")
    assert opened(root, ["train\\1.png"])[0].image[0, 0, 0] == 9


@pytest.mark.parametrize("absolute", ["/data/coco/0.png", "C:\\coco\\0.png", "D:/coco/0.png"])
def test_absolute_paths_do_not_blame_the_image_root(root, absolute):
    with pytest.raises(ValueError, match=r"1 of 1 .* are not there.*by absolute paths") as error:
        opened(root, [absolute])
    assert "image_root=" not in str(error.value)


def test_relative_ones_do(root):
    with pytest.raises(ValueError, match=r"data\.image_root=.*are not there, as .*x\.png"):
        opened(root, ["x.png"])


def test_what_may_not_be_read_is_not_called_missing(root, monkeypatch):
    """As root everything may be read, so the answer of the system is made up."""
    monkeypatch.setattr(paths.os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"cannot be read, as .*0\.png: Permission denied"):
        opened(root, ["train/0.png"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_entered(root):
    (root / "train").chmod(0)
    try:
        with pytest.raises(ValueError, match=r"cannot be read.*Permission denied"):
            opened(root, ["train/0.png"])
    finally:
        (root / "train").chmod(0o700)


def test_a_folder_is_no_image(root):
    with pytest.raises(ValueError, match=r"cannot be read, as .*train: is no file"):
        opened(root, ["train"])
