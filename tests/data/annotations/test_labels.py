"""Images with a class each, from lists and from folders."""

import json

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.labels import (
    check_templates,
    folder_labels,
    json_labels,
    read_lines,
)
from albef_jax.errors import BadSample


def photo(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), colour).save(path)


@pytest.fixture
def photos(tmp_path):
    photo(tmp_path / "photos" / "tabby_cat" / "1.png", (255, 0, 0))
    photo(tmp_path / "photos" / "tabby_cat" / "more" / "2.JPG", (250, 0, 0))
    photo(tmp_path / "photos" / "dog" / "1.png", (0, 0, 255))
    (tmp_path / "photos" / "dog" / "notes.txt").write_text("not an image")
    return tmp_path / "photos"


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_a_folder_is_a_class(photos):
    source = folder_labels(photos)
    assert source.classes == ("dog", "tabby cat")
    records = [source[place] for place in range(len(source))]
    assert [record.label for record in records] == [0, 1, 1]
    assert [record.name for record in records] == list(source.image_paths())
    np.testing.assert_array_equal(records[0].image[0, 0], [0, 0, 255])
    assert records[1].image.shape == (4, 6, 3)


def test_names_for_the_folders(photos):
    assert folder_labels(photos, ["a dog", "a cat"]).classes == ("a dog", "a cat")
    with pytest.raises(ValueError, match=r"data.classes has 3 names and .*photos 2 sub-folders"):
        folder_labels(photos, ["a", "b", "c"])


def test_folders_that_cannot_be_used(photos, tmp_path):
    (photos / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: a class without an image"):
        folder_labels(photos)
    with pytest.raises(ValueError, match="no such directory"):
        folder_labels(tmp_path / "absent")
    with pytest.raises(ValueError, match="no sub-folders; each class is a folder"):
        folder_labels(photos / "dog")


def test_a_list(photos, tmp_path):
    items = [
        {"image": "dog/1.png", "label": "dog"},
        {"image": "tabby_cat/1.png", "label": "cat"},
        {"image": "absent.png", "label": "dog"},
    ]
    file = written(tmp_path / "eval.json", items)
    source = json_labels([file], photos)
    assert source.classes == ("cat", "dog")
    assert (source[0].label, source[1].label) == (1, 0)
    with pytest.raises(BadSample, match=r"absent\.png"):
        _ = source[2]
    assert json_labels([file], photos, ["dog", "bird", "cat"])[1].label == 2


def test_an_unknown_label_names_the_nearest(photos, tmp_path):
    file = written(tmp_path / "eval.json", [{"image": "dog/1.png", "label": "tabby cta"}])
    with pytest.raises(ValueError, match=r"'tabby cta' is no class; did you mean 'tabby cat'"):
        json_labels([file], photos, ["dog", "tabby cat"])


def test_lists_of_names(tmp_path):
    assert read_lines(written(tmp_path / "a.txt", "dog\n\n tabby cat \n"), "data.classes") == (
        "dog",
        "tabby cat",
    )
    assert read_lines(written(tmp_path / "a.json", ["dog", "cat"]), "data.classes") == (
        "dog",
        "cat",
    )


@pytest.mark.parametrize(
    "content, message",
    [("", "is empty"), ("dog\ndog\n", "'dog' is there twice"), ('{"a": 1}', "no list of texts")],
)
def test_lists_that_cannot_be_used(tmp_path, content, message):
    path = written(tmp_path / "names.json" if content[:1] == "{" else tmp_path / "a.txt", content)
    with pytest.raises(ValueError, match=f"data.classes={path}: {message}|{message}"):
        read_lines(path, "data.classes")


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_a_template_has_one_place(template):
    with pytest.raises(ValueError, match=r"data.template: .* has not one \{\}"):
        check_templates(["a photo of a {}", template], "data.template")
