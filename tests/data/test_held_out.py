"""What is called held out is compared with what is trained on."""

import json

import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.held_out import with_shared_images
from albef_jax.tasks.pretrain import Pretraining


@pytest.fixture
def config(tmp_path):
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    for name, numbers in (("train", (0, 1)), ("val", (2, 3)), ("mixed", (1, 2, 2))):
        items = [{"image": f"{number}.png", "caption": f"a {number}"} for number in numbers]
        (tmp_path / f"{name}.json").write_text(json.dumps(items))
    (tmp_path / "link.json").symlink_to(tmp_path / "train.json")
    config = default()
    config.data.update({"root": str(tmp_path), "source": "json", "train_files": "train.json"})
    return config


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ("val.json", "held-out items of data.eval_files"),
        ("train.json", "TRAINING items (the files of data.eval_files are training files)"),
        ("./train.json", "TRAINING items (the files of data.eval_files are training files)"),
        ("link.json", "TRAINING items (the files of data.eval_files are training files)"),
        (
            "val.json,train.json",
            "items of data.eval_files, of which train.json holds TRAINING items",
        ),
        ("", "TRAINING items (data.eval_files is empty)"),
    ],
)
def test_training_files_are_not_called_held_out(config, files, what):
    config.data.eval_files = files
    assert open_eval_pairs(config)[1] == what


def test_a_part_of_a_mixture_is_a_training_file(config):
    part = {"name": "a", "source": "json", "files": "t*.json"}
    config.data.update({"train_files": "", "mixture": (part,), "eval_files": "train.json"})
    assert open_eval_pairs(config)[1].startswith("TRAINING items")


def test_images_of_training_are_counted(config):
    train = open_train_pairs(config)
    seen = "items of data.eval_files, where 1 of 2 images are TRAINING images"
    for files, words in (("val.json", "held-out items of data.eval_files"), ("mixed.json", seen)):
        config.data.eval_files = files
        held_out, what = open_eval_pairs(config)
        assert with_shared_images(what, train, held_out) == words


def test_a_flat_list_is_evaluated_by_image(config):
    config.data.eval_files = "mixed.json"
    pairs, _ = open_eval_pairs(config)
    assert [pair.captions for pair in pairs] == [("a 1",), ("a 2", "a 2")]
    config.data.update({"train_files": "mixed.json", "eval_files": ""})
    assert len(open_train_pairs(config)) == 3
    assert len(open_eval_pairs(config)[0]) == 2


def test_an_evaluation_alone_does_not_compare_its_images_with_themselves(config, tmp_path):
    config.data.update({"eval_files": "mixed.json", "augment": "none"})
    config.train.update({"batch_size": 2, "contrast_group": 2, "queue_size": 2, "steps": 1})
    alone = Pretraining(config, tmp_path, eval_only=True)
    assert alone.evaluated_on == "held-out items of data.eval_files"
    trained = Pretraining(config, tmp_path, eval_only=False)
    assert "1 of 2 images are TRAINING images" in trained.evaluated_on
