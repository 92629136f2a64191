"""The models that come with the package: found by name, whole, small, and as good as said."""

import json

import numpy as np
import pytest

import albef_jax
from albef_jax.apps.search import index
from albef_jax.checkpoints.convert.description import describe
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.errors import CheckpointError, ConfigError
from albef_jax.pretrained.folders import NAMES, locate
from albef_jax.validate import validate
from albef_jax.workdir.config_file import differences
from configs.entailment import get_config as entailment
from configs.pretrain import get_config

MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def model():
    return albef_jax.load("scenes")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_whole_and_small(name):
    folder = locate(name)
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert files.keys() == {"LICENSE", "README.md", "config.json", "model.safetensors", "vocab.txt"}
    assert sum(files.values()) <= MOST_BYTES
    card = (folder / "README.md").read_text()
    assert describe(folder)["digest"] in card
    assert "retrieval.itm.image_retrieval.r1" in card


def test_what_lies_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("scenes").is_absolute()
    assert str(locate("runs/scenes")) == "runs/scenes"
    (tmp_path / "scenes").mkdir()
    assert str(locate("scenes")) == "scenes"


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(CheckpointError, match=r"scene: no such file .* the package \(scenes\)"):
        albef_jax.load("scene")


def test_a_run_can_start_from_it():
    config = entailment()
    config.init.checkpoint = "scenes"
    validate(config)
    config.init.checkpoint = "scene"
    with pytest.raises(ConfigError, match=r"init\.checkpoint: no such file or directory: scene"):
        validate(config)


def test_an_index_keeps_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert index._kept_model("scenes") == "scenes"
    assert index._kept_model("run") == str(tmp_path / "run")
    assert index._kept_model("") == ""


def test_the_recipe_is_the_one_of_today(model):
    config = json.loads((locate("scenes") / "config.json").read_text())
    recipe = json.loads(get_config("world").to_json())
    assert config["preset"] == "world"
    changed = differences(config, recipe)  # options that are newer than it have their defaults
    parts = ("model.", "train.", "optimizer.", "data.")
    # One thread or two read the same batches.
    assert {name for name in changed if name.startswith(parts)} <= {"data.threads"}


def test_it_finds_unseen_scenes(model):
    unseen = ScenesSource("test", 24, model.config.image_size, captions_per_image=1)
    pairs = [unseen[number] for number in range(24)]
    images, texts = [pair.image for pair in pairs], [pair.captions[0] for pair in pairs]
    found = [ranking[0].place for ranking in model.rank(text=texts, images=images, k=8)]
    assert np.mean([place == number for number, place in enumerate(found)]) > 0.8
