import json

import pytest
from PIL import Image

from albef_jax.data.annotations.sentences import JsonSentences, JsonTwoImages
from albef_jax.data.records import LABELS, TRUTH
from albef_jax.errors import BadSample


@pytest.fixture
def root(tmp_path):
    for name in ("10.jpg", "11.jpg", "12.PNG"):
        Image.new("RGB", (8, 6), (0, 0, 200)).save(tmp_path / name)
    return tmp_path


def written(root, items, name="a.json"):
    path = root / name
    path.write_text(json.dumps(items), "utf-8")
    return path


def sentence(image="10", label="neutral", **more):
    return {"image": image, "sentence": "A dog.", "label": label, **more}


def statement(left="10.jpg", right="11.jpg", label="True", **more):
    return {"images": [left, right], "sentence": "Two dogs.", "label": label, **more}


def test_labels_have_the_official_numbers():
    assert LABELS == ("contradiction", "neutral", "entailment")
    assert TRUTH == ("False", "True")


def test_sentences_and_how_images_are_named(root):
    items = [sentence(label=label) for label in LABELS]
    items += [sentence("11.jpg"), sentence("12.PNG"), sentence(str(root / "10"))]
    found = JsonSentences([written(root, items[:3]), written(root, items[3:], "b.json")], root)
    assert [one.label for one in found] == [0, 1, 2, 1, 1, 1]
    names = ["10.jpg", "10.jpg", "10.jpg", "11.jpg", "12.PNG", "10.jpg"]
    assert [one.name for one in found] == [str(root / name) for name in names]
    assert found[0].sentence == "A dog." and found[0].image.shape == (6, 8, 3)


def test_two_images_with_labels_in_either_notation(root):
    items = [statement(label=label) for label in ("True", "False", True, False)]
    found = JsonTwoImages([written(root, items)], root)
    assert [one.label for one in found] == [1, 0, 1, 0]
    assert found[0].left.shape == found[0].right.shape == (6, 8, 3)
    assert found[0].name == f"{root / '10.jpg'} and {root / '11.jpg'}"
    assert len(found) == 4


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (sentence(image=10), "'image' must be"),
        (sentence(sentence=""), "'sentence' is empty"),
        (sentence(sentence=["A dog."]), "'sentence' must be a text"),
        (
            sentence(label="Entails"),
            "'label' 'Entails' is none of contradiction, neutral, entailment; "
            r"did you mean 'entailment'\?",
        ),
        (sentence(label=2), "'label' 2 is none of contradiction, neutral, entailment$"),
        (sentence(label=None), "'label' None is none of"),
        ({"image": "10", "sentence": "A dog."}, "has no 'label'; give one of contradiction"),
        ({"image": "10", "label": "neutral"}, "has no 'sentence'"),
        ([], "is a list, not an object"),
    ],
)
def test_a_broken_sentence_is_named(root, item, message):
    with pytest.raises(ValueError, match=rf"a\.json, item 1: {message}"):
        JsonSentences([written(root, [sentence(), item])], root)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (statement(images="10.jpg"), "'images' must be a list of two"),
        (statement(images=["10.jpg"]), "'images' must be a list of two"),
        (statement(right=""), "'images' must hold the paths"),
        (statement(right=None), "'images' must hold the paths"),
        (statement(sentence=" "), "'sentence' is empty"),
        (statement(label="true"), r"'label' 'true' is none of False, True; did you mean 'True'\?"),
        (statement(label=1), "'label' 1 is none of False, True"),
        (statement(label=["True"]), "'label' .* is none of"),
    ],
)
def test_a_broken_statement_is_named(root, item, message):
    with pytest.raises(ValueError, match=rf"a\.json, item 1: {message}"):
        JsonTwoImages([written(root, [statement(), item])], root)


def test_all_problems_come_in_one_message(root):
    files = [written(root, [sentence(label="no")] * 15, f"{name}.json") for name in "ab"]
    with pytest.raises(ValueError) as refused:
        JsonSentences(files, root)
    assert "b.json, item 4: " in str(refused.value)
    assert str(refused.value).endswith("... and 10 more")


@pytest.mark.parametrize("source", [JsonSentences, JsonTwoImages])
def test_an_empty_split_names_its_setting(root, source):
    with pytest.raises(ValueError, match=r"the list is empty; .*data\.eval_files"):
        source([written(root, [])], root, "data.eval_files")


def test_a_wrong_root_is_noticed_at_once(root):
    with pytest.raises(ValueError, match=r"data\.image_root=.*1 of 1 .*10\.jpg"):
        JsonSentences([written(root, [sentence()])], root / "no")
    with pytest.raises(ValueError, match=r"data\.image_root=.*2 of 2 "):
        JsonTwoImages([written(root, [statement()])], root / "no")


def test_a_missing_image_is_a_bad_sample_under_its_own_name(root):
    sentences = JsonSentences([written(root, [sentence(), sentence("11")])], root)
    statements = JsonTwoImages([written(root, [statement(), statement("12.PNG")])], root)
    (root / "11.jpg").unlink()
    for source in (sentences, statements):
        with pytest.raises(BadSample, match="cannot be read") as bad:
            source[1]
        assert bad.value.name == str(root / "11.jpg")
