"""From what the package easy-vqa holds to a batch, with the commands of docs/tasks/vqa.md."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from albef_jax.config.tasks import task_spec
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import ConfigError
from albef_jax.validate import validate
from tests.helpers.recipes import recipe
from tools import convert_annotations, make_vocab

QUESTIONS = {
    "train": [["is there a circle?", "yes", 0], ["what color is the circle?", "teal", 2]],
    "test": [["is no red shape present?", "no", 0]],
}


@pytest.fixture
def package(tmp_path):
    """The data directory of the package, made up."""
    data = tmp_path / "site-packages/easy_vqa/data"
    for split, questions in QUESTIONS.items():
        (data / split / "images").mkdir(parents=True)
        (data / split / "questions.json").write_text(json.dumps(questions))
        for _, _, number in questions:
            image = Image.new("RGB", (64, 64), (number, 128, 128))
            image.save(data / split / f"images/{number}.png")
    (data / "answers.txt").write_text("circle\nyes\nteal\nno\n")
    return data


@pytest.fixture
def config(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = tmp_path / "data/easy_vqa"
    lists.mkdir(parents=True)
    shutil.copy(package / "answers.txt", lists)
    for split in QUESTIONS:
        source, out = package / split / "questions.json", lists / f"{split}.json"
        assert not convert_annotations.main([str(source), str(out), f"--images={package / split}/"])
    source, out = package / "train/questions.json", lists / "captions.json"
    options = [f"--images={package / 'train'}/", "--captions"]
    assert not convert_annotations.main([str(source), str(out), *options])
    assert not make_vocab.main([str(lists / "train.json"), str(lists / "vocab.txt")])
    config = recipe("vqa", "easy_vqa")
    config.train.batch_size = 2
    return config


def test_the_recipe_reads_what_the_commands_wrote(config, tmp_path):
    validate(config)
    program = task_spec("vqa").run(config, tmp_path)
    assert program.evaluated_on == "held-out items of data.eval_files"
    assert program.answers == ("circle", "yes", "teal", "no")
    assert [question.kind for question in program.held_out] == ["yes/no, negated"]
    batch = next(program.batches(0, make_mesh()))
    order = np.argsort(batch["sample_index"])
    assert batch["image"][order, 0, 0, 0].tolist() == [0, 2]
    pieces = program.tokenizer.pieces
    asked = pieces(batch["text_ids"][order[0]])
    assert asked[:6] == ["[CLS]", "is", "there", "a", "circle", "[PAD]"]
    assert pieces(batch["answer_ids"][order[1], 0]) == ["[CLS]", "teal", "[SEP]"]


def test_pre_training_reads_the_captions(config, tmp_path):
    pretraining = recipe("pretrain", "easy_vqa")
    pretraining.train.update({"batch_size": 1, "contrast_group": 1, "queue_size": 1})
    program = task_spec("pretrain").run(pretraining, tmp_path)
    assert program.source[0].captions == ("a teal circle",)
    assert pretraining.model.to_dict() == config.model.to_dict()


def test_a_missing_answer_list_is_named(config, tmp_path):
    (tmp_path / "data/easy_vqa/answers.txt").unlink()
    with pytest.raises(ConfigError, match=r"data\.answer_list: no such file"):
        validate(config)
