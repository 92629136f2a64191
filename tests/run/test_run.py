"""Whole runs as a user starts them, on good and on rotten data."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from albef_jax.data.scenes.source import ScenesSource
from albef_jax.errors import RunError
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers.tiny_run import json_config, scenes_config


def start(config, workdir, **options):
    validate(config)
    return run(config, workdir, "the command", eval_only=options.get("eval_only", False))


@pytest.mark.usefixtures("one_device")
def test_built_in_world_from_start_to_report(tmp_path, capsys):
    workdir = tmp_path / "run"
    report = start(scenes_config(), workdir)
    assert report == workdir / "report" / "index.html"
    assert report.stat().st_size > 10_000
    results = json.loads((workdir / "results.json").read_text())
    assert results["step"] == 6
    assert results["retrieval"]["images"] == 12
    assert results["retrieval"]["chance_r1"] == pytest.approx(100 / 12)
    for scored in ("itc", "itm"):
        for way in ("text_retrieval", "image_retrieval"):
            assert 0 <= results["retrieval"][scored][way]["r1"] <= 100
    printed = capsys.readouterr().out
    assert "12 unseen scenes" in printed

    start(scenes_config(), workdir, eval_only=True)
    assert json.loads((workdir / "results.json").read_text()) == results


def test_evaluation_needs_a_checkpoint(tmp_path):
    with pytest.raises(RunError, match="no checkpoint"):
        start(scenes_config(), tmp_path, eval_only=True)


def test_other_configuration_in_the_same_workdir(tmp_path):
    (tmp_path / "config.json").write_text(scenes_config(momentum=0.5).to_json())
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(RunError, match=r"train\.momentum: 0\.5 there, 0\.995 now"):
        start(scenes_config(), tmp_path)


def test_vocabulary_larger_than_the_model(tmp_path):
    config = scenes_config()
    config.model.vocab_size = 200
    with pytest.raises(RunError, match=r"model\.vocab_size=200 is smaller than the vocabulary"):
        start(config, tmp_path)


def test_fewer_images_than_a_batch(tmp_path):
    config = scenes_config()
    config.data.scenes.train_size = 7
    with pytest.raises(RunError, match=r"train\.batch_size=8 exceeds the 7 training images"):
        start(config, tmp_path)


@pytest.fixture
def photos(tmp_path):
    """Images of six batches with captions in the official format, some of them unusual."""
    scenes, root = ScenesSource("train", 48, 64), tmp_path / "images"
    root.mkdir()
    items = []
    for index in range(48):
        pair = scenes[index]
        cv2.imwrite(str(root / f"{index}.jpg"), pair.image)
        items.append({"image": f"{index}.jpg", "caption": list(pair.captions)})
    Image.fromarray(scenes[0].image).convert("CMYK").save(root / "0.jpg")
    Image.fromarray(scenes[1].image).convert("L").save(root / "1.jpg")
    sixteen = scenes[2].image[..., 0].astype(np.uint16) * 257
    Image.fromarray(sixteen).save(root / "2.png")
    items[2]["image"] = "2.png"
    items[3]["caption"] = "many words " * 5000
    items[4]["caption"] = "a dog \U0001f415 with \ud83d and \u4e2d\u6587"
    return items, root, tmp_path / "captions.json"


def write(file, items):
    file.write_text(json.dumps(items), encoding="utf-8")


@pytest.mark.usefixtures("one_device")
def test_json_with_unusual_and_rotten_images(photos, tmp_path, capsys):
    items, root, file = photos
    (root / "5.jpg").write_bytes(b"")
    whole = (root / "6.jpg").read_bytes()
    (root / "6.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "7.jpg").unlink()
    write(file, items)
    config = json_config(str(file), str(root))
    config.data.max_bad_share = 0.1
    start(config, tmp_path / "run")
    register = (tmp_path / "run" / "bad_samples.jsonl").read_text(encoding="utf-8")
    bad = [json.loads(line) for line in register.splitlines()]
    assert {entry["name"].rsplit("/", 1)[1] for entry in bad} == {"5.jpg", "6.jpg", "7.jpg"}
    assert all(entry["reason"] for entry in bad)
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["bad_samples"] == 3
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "TRAINING items" in results["evaluated_on"]
    assert "TRAINING items" in capsys.readouterr().out


@pytest.mark.usefixtures("one_device")
def test_too_many_bad_images_stop_the_run(photos, tmp_path):
    items, root, file = photos
    for index in range(5, 12):
        (root / f"{index}.jpg").write_bytes(b"not an image")
    write(file, items)
    with pytest.raises(RunError, match=r"data\.max_bad_share"):
        start(json_config(str(file), str(root)), tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image": "a.jpg"}', "not a list"),
        ('[{"image": "a.jpg"}]', "item 0.*caption"),
        ('[{"image": "a.jpg", "caption": ""}]', "item 0.*caption"),
        ('[{"caption": "a dog"}]', "item 0.*image"),
        ('[{"image": "a.jpg", "caption": 5}]', "item 0.*caption"),
        ("[", "not JSON"),
        (b"\xff\xfe[", "not UTF-8"),
    ],
)
def test_bad_annotations_are_one_clear_error(tmp_path, content, message):
    file = tmp_path / "captions.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=f"(?s)captions.json.*{message}"):
        start(json_config(str(file), str(tmp_path)), tmp_path / "run")


def test_batch_of_one_is_refused_with_a_remedy():
    from albef_jax.errors import ConfigError

    with pytest.raises(ConfigError, match=r"contrast_group=1: a text needs 1 negative"):
        validate(scenes_config(batch_size=1, contrast_group=1))
