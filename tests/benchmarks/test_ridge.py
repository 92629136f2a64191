"""The ridge baseline: its map, its split, and the whole command on encoders of the golden set."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import ridge

GOLDEN = Path(__file__).parents[1] / "golden" / "unimodal"
WORDS = ("red", "green", "blue", "square", "circle", "dog", "cat", "tree", "house", "car")


def test_the_map_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    inputs, noise = rng.normal(size=(200, 6)), rng.normal(size=(200, 3))
    inputs -= inputs.mean(axis=0)
    outputs = inputs @ rng.normal(size=(6, 3)) + noise - noise.mean(axis=0)
    least = np.linalg.lstsq(inputs, outputs)[0]
    np.testing.assert_allclose(ridge.fit(inputs, outputs, 1e-9), least, atol=1e-6)
    assert np.abs(ridge.fit(inputs, outputs, 1e6)).max() < 1e-5
    np.testing.assert_allclose(
        ridge.fit(5 * inputs, outputs, 0.5), ridge.fit(inputs, outputs, 0.5) / 5, atol=1e-9
    )


def test_every_image_is_unseen_once():
    parts = [ridge.split(13, 5, fold, seed=0) for fold in range(5)]
    for seen, unseen in parts:
        np.testing.assert_array_equal(np.sort(np.concatenate([seen, unseen])), np.arange(13))
    unseen = np.concatenate([unseen for _, unseen in parts])
    np.testing.assert_array_equal(np.sort(unseen), np.arange(13))
    assert not np.array_equal(ridge.split(13, 5, 0, seed=1)[1], parts[0][1])


def linear_features():
    """Captions that follow from their images by a linear map, two of each."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(60, 8)) + 3
    owners = np.repeat(np.arange(60), 2)
    text = (image @ rng.normal(size=(8, 8)))[owners] - 2
    return ridge.Features(image, text + 0.01 * rng.normal(size=text.shape), owners)


@pytest.mark.parametrize("towards", ["text", "image"])
def test_a_linear_relation_is_found(towards):
    features = linear_features()
    seen, unseen = (features.of(rows) for rows in ridge.split(60, 3, 0, seed=0))
    assert (len(unseen.image), len(unseen.text)) == (20, 40)
    penalty = ridge.choose_penalty(seen, towards, seed=0)
    assert penalty == min(ridge.PENALTIES)
    found = ridge.scores(seen, unseen, towards, penalty)
    figures = ridge.measure(found, unseen.image_of_text)
    assert all(way["r1"] > 80 for way in figures.values())


def test_captions_stay_with_their_images():
    features = linear_features()
    part = features.of(np.array([7, 3]))
    np.testing.assert_array_equal(part.image, features.image[[7, 3]])
    np.testing.assert_array_equal(part.text, features.text[[6, 7, 14, 15]])
    np.testing.assert_array_equal(part.image_of_text, [1, 1, 0, 0])


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command on twelve images, the first of them in two items."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(12):
        name = f"{number}.png"
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (40, 30, 3), np.uint8))
        items.append({"image": name, "caption": [WORDS[number % 10], f"a {WORDS[-number % 10]}"]})
    items.append({"image": "0.png", "caption": "one more"})
    (tmp_path / "captions.json").write_text(json.dumps(items))
    shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*specials, *WORDS]) + "\n")
    given = {
        "annotations": tmp_path / "captions.json",
        "images": tmp_path,
        "text": tmp_path / "bert",
        "vision": GOLDEN / "vit",
        "image_size": 32,
        "text_len": 8,
        "folds": 3,
    }

    def run(**options):
        flags = [f"--{name}={value}" for name, value in (given | options).items()]
        monkeypatch.setattr(sys, "argv", ["ridge", *flags])
        ridge.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_a_fold_and_its_files(command, tmp_path):
    line = command(fold=1, write=tmp_path / "split", text_pooling="cls", towards="image")
    (fold,) = line["by_fold"]
    assert (fold["fold"], fold["train_images"], fold["unseen_images"]) == (1, 8, 4)
    assert 0 <= line["image_retrieval"]["r1"] <= line["image_retrieval"]["r5"] == 100
    parts = [json.loads((tmp_path / "split" / f"{p}.json").read_text()) for p in ("train", "test")]
    names = [{item["image"] for item in part} for part in parts]
    assert not names[0] & names[1]
    assert [len(part) for part in names] == [8, 4]
    everything = json.loads((tmp_path / "captions.json").read_text())
    assert sorted(map(str, parts[0] + parts[1])) == sorted(map(str, everything))


def test_all_folds(command):
    line = command(image_pooling="mean", text_depth=2)
    assert [fold["fold"] for fold in line["by_fold"]] == [0, 1, 2]
    mean = np.mean([fold["text_retrieval"]["r1"] for fold in line["by_fold"]])
    assert line["text_retrieval"]["r1"] == round(mean, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotations": "absent.json"}, r"absent\.json"),
        ({"vision": "absent"}, "absent: no such file"),
    ],
)
def test_what_is_missing_is_named(command, options, message):
    with pytest.raises(SystemExit, match=message):
        command(**options)


@pytest.mark.parametrize("options", [{"write": "split"}, {"fold": 3}, {"folds": 1}])
def test_folds_that_do_not_exist(command, options):
    with pytest.raises(SystemExit, match="2"):
        command(**options)
