import json

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.errors import BadSample


@pytest.fixture
def root(tmp_path):
    for number in range(4):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(root, items, name="a.json"):
    path = root / name
    path.write_text(items if isinstance(items, str) else json.dumps(items), "utf-8")
    return path


def item(number, caption="a dog", **more):
    return {"image": f"{number}.png", "caption": caption, **more}


def test_several_files_one_after_the_other(root):
    first = written(root, [item(0), item(1, ["a cat", "An Ünusual 😀 cat"])])
    second = written(root, [item(2, "two\nlines")], "b.json")
    pairs = JsonPairs([first, str(second)], root)
    assert len(pairs) == 3
    assert [pair.captions for pair in pairs] == [
        ("a dog",),
        ("a cat", "An Ünusual 😀 cat"),
        ("two\nlines",),
    ]
    assert [int(pair.image[0, 0, 0]) for pair in pairs] == [0, 1, 2]
    assert pairs[2].name == str(root / "2.png")
    assert pairs[-1].image.shape == (6, 8, 3)
    with pytest.raises(IndexError):
        pairs[3]


def test_absolute_image_paths_do_not_need_the_root(root):
    file = written(root, [{"image": str(root / "1.png"), "caption": "a dog"}])
    assert JsonPairs([file], "elsewhere")[0].image[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([7, 7, 9], [7, 7, 9]),
        ([None, None, None], [0, 0, 1]),
        ([7, None, 9], [0, 0, 1]),
        (["coco_1", "coco_1", "coco_2"], [0, 0, 1]),
        ([2**40, 2**40, 9], [0, 0, 1]),
        ([-100, -100, 9], [0, 0, 1]),
        ([5, 5, 5], [0, 0, 1]),
    ],
    ids=["given", "none", "some", "texts", "too large", "negative", "two images under one id"],
)
def test_image_ids(root, given, expected):
    ids = [{} if number is None else {"image_id": number} for number in given]
    numbers = (0, 0, 1)
    items = [item(number, **more) for number, more in zip(numbers, ids, strict=True)]
    pairs = JsonPairs([written(root, items)], root)
    assert [pair.image_id for pair in pairs] == expected


def test_empty_captions_beside_others_are_dropped_and_counted(root):
    file = written(root, [item(0, ["", "a dog", " \n"]), item(1)])
    pairs = JsonPairs([file], root)
    assert pairs[0].captions == ("a dog",)
    assert pairs[1].captions == ("a dog",)
    assert pairs.dropped_empty_captions == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"image": "0.png", "caption": "a"}',
            "holds one object with 'image', 'caption', not a list",
        ),
        ("[]", "the list is empty"),
        ('[{"image": "0.png"', "not JSON"),
        (
            '{"image": "0.png", "caption": "a"}\n{"image": "1.png", "caption": "b"}',
            r"not JSON .*ends in \.jsonl",
        ),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
    ],
)
def test_a_file_that_is_no_list_of_items(root, text, message):
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
        JsonPairs([written(root, text)], root)


def test_a_file_that_is_not_utf8(root):
    (root / "a.json").write_bytes(b'[{"image": "0.png", "caption": "caf\xe9"}]')
    with pytest.raises(ValueError, match=r"a\.json: not UTF-8 at byte 35"):
        JsonPairs([root / "a.json"], root)


def test_a_file_that_is_not_there(root):
    with pytest.raises(ValueError, match=r"no\.json: cannot be read: No such file"):
        JsonPairs([root / "no.json"], root)


def test_no_files(root):
    with pytest.raises(ValueError, match=r"data\.train_files"):
        JsonPairs([], root)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("a dog", "is a str, not an object"),
        ({"caption": "a dog"}, "'image' must be"),
        ({"image": "", "caption": "a dog"}, "'image' must be"),
        ({"image": 3, "caption": "a dog"}, "'image' must be"),
        ({"image": "0.png"}, "has no 'caption'"),
        ({"image": "0.png", "caption": None}, "'caption' must be a text"),
        ({"image": "0.png", "caption": ["a", 3]}, "'caption' must be a text"),
        ({"image": "0.png", "caption": []}, "'caption' is empty"),
        ({"image": "0.png", "caption": " \t"}, "'caption' is empty"),
        ({"image": "0.png", "caption": ["", " "]}, "'caption' is empty"),
    ],
)
def test_a_broken_item_is_named_with_file_and_number(root, broken, message):
    with pytest.raises(ValueError, match=rf"a\.json, item 1: {message}"):
        JsonPairs([written(root, [item(0), broken, item(1)])], root)


def test_all_problems_come_in_one_message(root):
    first = written(root, [{"image": "0.png"}] * 30)
    second = written(root, "{}", "b.json")
    with pytest.raises(ValueError) as refused:
        JsonPairs([second, first], root)
    message = str(refused.value)
    assert "b.json: holds" in message
    assert "a.json, item 18: " in message and "item 19" not in message
    assert message.endswith("... and 11 more")


def test_a_wrong_image_root_is_noticed_at_once(root):
    file = written(root, [item(number) for number in range(4)])
    with pytest.raises(ValueError, match=r"data\.image_root=.*4 of 4 .*0\.png"):
        JsonPairs([file], root / "elsewhere")


@pytest.mark.parametrize("data", [None, b"", b"no image"])
def test_a_missing_or_unreadable_image_is_a_bad_sample(root, data):
    file = written(root, [item(number) for number in range(4)])
    (root / "2.png").unlink()
    if data is not None:
        (root / "2.png").write_bytes(data)
    pairs = JsonPairs([file], root)
    with pytest.raises(BadSample) as bad:
        pairs[2]
    assert bad.value.name == str(root / "2.png")
    assert np.array_equal(pairs[3].image[0, 0], [3, 0, 0])


@pytest.mark.parametrize("name", ["0.png\0", "\ud83d.png", "x" * 5000])
def test_an_impossible_file_name_is_a_bad_sample(root, name):
    pairs = JsonPairs([written(root, [item(0), item(1), {"image": name, "caption": "a"}])], root)
    with pytest.raises(BadSample, match="cannot be read"):
        pairs[2]


def test_integer_and_text_ids_may_stand_beside_each_other(root):
    first = written(root, [item(0, image_id="coco_7"), item(0, image_id="coco_7")])
    second = written(root, [item(1, image_id=7), item(2, image_id="7")], "b.json")
    pairs = JsonPairs([first, second], root)
    assert [pair.image_id for pair in pairs] == [0, 0, 1, 2]
    assert pairs.notes == ()


@pytest.mark.parametrize("clash", [7, "coco_7"])
def test_an_id_for_several_images_merges_none_and_is_reported(root, clash):
    first = written(root, [item(0, image_id=clash), item(1, image_id="x")])
    second = written(root, [item(2, image_id=clash), item(3, image_id="x")], "b.json")
    pairs = JsonPairs([first, second], root)
    assert [pair.image_id for pair in pairs] == [0, 1, 2, 3]
    (note,) = pairs.notes
    assert f"image_id {clash!r} stands for 0.png and for 2.png, and 1 more ids" in note
    assert "equal paths are taken for equal images" in note


def test_an_empty_split_names_the_setting_that_it_came_from(root):
    with pytest.raises(
        ValueError, match=r"the list is empty; remove the file from data\.eval_files"
    ):
        JsonPairs([written(root, [])], root, "data.eval_files")


def test_one_image_under_two_ids_is_one_image(root):
    """Its captions would be negatives of each other."""
    file = written(root, [item(0, image_id=7), item(1, image_id=8), item(0, "a cat", image_id=9)])
    pairs = JsonPairs([file], root)
    assert pairs.image_ids.tolist() == [7, 8, 7]
    (note,) = pairs.notes
    assert "0.png has the image_id 7 and the image_id 9" in note


def test_spellings_of_a_path_are_one_image(root):
    items = [item(0), {"image": "./0.png", "caption": "b"}, {"image": "x/../0.png", "caption": "c"}]
    assert JsonPairs([written(root, items)], root).image_ids.tolist() == [0, 0, 0]
