"""Classification by prompts, from a checkpoint of another task to the report."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import albef_jax
from albef_jax.config import default, use_preset
from albef_jax.data.scenes.task_sources import ScenesObjects
from albef_jax.errors import ConfigError, RunError
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers.tiny_run import SIZES

COUNT = 24
KEPT = Path(__file__).parents[1] / "golden" / "old_runs" / "retrieval.tar.gz"
TEMPLATES = ["a picture of a {}", "there is a {}"]


def zero_shot_config(checkpoint="", **data):
    config = default("zero_shot")
    use_preset(config, "tiny", vocab_size=460, **SIZES)
    config.data.update({"source": "scenes", "vocab": "scenes", "text_len": 25, "threads": 2})
    config.data.update({"template": TEMPLATES[0], **data})
    config.evaluation.update({"limit": COUNT, "batch_size": 8, "examples": 3})
    config.init.checkpoint = str(checkpoint)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    where = tmp_path_factory.mktemp("trained")
    with tarfile.open(KEPT) as archive:
        archive.extractall(where, filter="data")
    return where / "retrieval"


@pytest.fixture(scope="module")
def workdir(trained, one_device, drawn_weights, tmp_path_factory):
    where = tmp_path_factory.mktemp("zero_shot")
    (where / "templates.txt").write_text("\n".join(TEMPLATES))
    config = zero_shot_config(trained, root=str(where), templates="templates.txt")
    validate(config)
    run(config, where / "run", "the command", eval_only=False)
    return where / "run"


def test_the_figures_are_those_of_the_loaded_model(workdir, trained):
    """By hand: `encode_text` of every prompt, averaged, against `encode_image`."""
    found = json.loads((workdir / "results.json").read_text())["zero_shot"]
    model = albef_jax.load(trained)
    scenes = ScenesObjects("val", COUNT, SIZES["image_size"])
    prompts = [template.format(name) for name in scenes.classes for template in TEMPLATES]
    texts = (
        model.encode_text(prompts).feature.reshape(len(scenes.classes), len(TEMPLATES), -1).mean(1)
    )
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    scores = model.encode_image([scenes[place].image for place in range(COUNT)]).feature @ texts.T
    labels = np.array([scenes[place].label for place in range(COUNT)])
    order = np.argsort(-scores, axis=1)
    assert found["top1"] == pytest.approx(100 * np.mean(order[:, 0] == labels))
    assert found["top5"] == pytest.approx(100 * np.mean((order[:, :5] == labels[:, None]).any(1)))
    assert (found["count"], found["classes"], found["unreadable"]) == (COUNT, 64, 0)
    assert found["templates"] == TEMPLATES
    unseen = sum(scenes.unseen(place) for place in range(COUNT))
    assert found["unseen"]["count"] == unseen


def test_the_class_is_the_object_of_the_scene():
    scenes = ScenesObjects("val", 40, 32)
    for place in range(40):
        thing = scenes.thing(place)
        assert scenes.classes[scenes[place].label] == f"{thing.colour} {thing.shape}"


def test_the_report(workdir):
    page = (workdir / "report" / "index.html").read_text("utf-8")
    assert "Classification by prompts" in page
    assert page.count('<article class="card beside">') == 3
    assert "a picture of a {}" in page


def test_nothing_is_trained(workdir, capsys):
    assert not list((workdir / "checkpoints").glob("[0-9]*"))
    assert not (workdir / "metrics.jsonl").exists()


def test_without_a_checkpoint(tmp_path, one_device):
    with pytest.raises(RunError, match=r"task zero_shot trains nothing: set init\.checkpoint"):
        run(zero_shot_config(), tmp_path / "run", "", eval_only=False)


@pytest.mark.parametrize(
    "data, message",
    [
        ({"source": "webdataset"}, "data.source=webdataset: zero_shot reads its annotations"),
        ({"source": "json"}, "data.eval_files is empty: name annotation files"),
        ({"source": "folder"}, "data.image_root is empty: name the folder"),
        ({"source": "folder", "image_root": "absent"}, "data.image_root: no such directory"),
        ({"source": "json", "eval_files": "x.json"}, "data.eval_files: no such file"),
        ({"source": "folder", "image_root": ".", "classes": "names.txt"}, "data.classes: no such"),
    ],
)
def test_data_that_are_not_there(tmp_path, data, message):
    config = zero_shot_config(root=str(tmp_path), **data)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_folders_are_of_this_task_alone():
    config = default("entailment")
    config.data.source = "folder"
    with pytest.raises(ConfigError, match=r"data\.source=folder: entailment needs texts"):
        validate(config)


def test_a_template_without_a_place(trained, tmp_path, one_device):
    config = zero_shot_config(trained, template="a photo")
    with pytest.raises(RunError, match=r"data\.template: 'a photo' has not one"):
        run(config, tmp_path / "run", "", eval_only=False)
