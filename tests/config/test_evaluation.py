"""Options of evaluation while training."""

import json

import pytest

from albef_jax.config import default
from albef_jax.config.evaluation import every, further_sets, of_validation, remark
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.errors import ConfigError
from albef_jax.validate import validate
from tests.helpers.recipes import recipe


@pytest.mark.parametrize(
    ("text", "steps"),
    [("", 0), ("1 epoch", 7), ("2 epochs", 14), ("500 steps", 500), ("1 step", 1), ("3epochs", 21)],
)
def test_every(text, steps):
    config = recipe("entailment")
    config.evaluation.every = text
    validate(config)
    assert every(config, steps_per_epoch=7) == steps


@pytest.mark.parametrize("text", ["500", "0 steps", "epoch", "two epochs", "1.5 epochs"])
def test_other_texts_are_refused(text):
    config = recipe("entailment")
    config.evaluation.every = text
    with pytest.raises(ConfigError, match="say it as '500 steps' or '1 epoch'"):
        validate(config)


@pytest.mark.parametrize("task", TASKS)
def test_the_default_is_a_score_of_the_task(task):
    best = default(task).checkpoint.best
    assert best in ("", *task_spec(task).scores)
    # As published: all but pre-training and question answering choose a step.
    chooses = {"retrieval", "entailment", "nlvr", "grounding"}
    assert bool(best) == (task in chooses)


def test_an_unknown_score_has_a_suggestion():
    config = recipe("retrieval")
    config.checkpoint.best = "itm_rmean"
    with pytest.raises(ConfigError, match=r"itc_r_mean.*did you mean 'itm_r_mean'"):
        validate(config)
    config = recipe("zero_shot")
    config.checkpoint.best = "top1"
    with pytest.raises(ConfigError, match="zero_shot has none; leave it empty"):
        validate(config)


@pytest.fixture
def files(tmp_path):
    """An entailment run on files."""
    item = {"image": "a", "sentence": "a dog", "label": "neutral"}
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps([item]))
    config = recipe("entailment")
    config.data.update({"source": "json", "root": str(tmp_path), "train_files": "train.json"})
    config.data.eval_files = "test.json"
    config.evaluation.every = "1 epoch"
    return config


def test_files_need_files_to_choose_by(files):
    with pytest.raises(ConfigError, match=r"evaluation\.every='1 epoch' needs data\.val_files"):
        validate(files)
    files.data.val_files = "deev.json"
    with pytest.raises(ConfigError, match=r"data\.val_files: no such file: .*dev\.json"):
        validate(files)
    validate(files, eval_only=True)  # nothing is trained
    files.data.val_files = "dev.json"
    validate(files)
    assert of_validation(files).data.eval_files == "dev.json"


def test_sets_by_name(files):
    files.data.val_files = "dev.json"
    files.data.also_eval_files = " dev=dev.json ; both = dev.json,test.json;"
    validate(files)
    found = further_sets(files)
    assert {name: own.data.eval_files for name, own in found.items()} == {
        "dev": "dev.json",
        "both": "dev.json,test.json",
    }
    assert all(own.data.also_eval_files == "" for own in found.values())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dev.json", "write NAME=FILES"),
        ("=dev.json", "write NAME=FILES"),
        ("dev=", "write NAME=FILES"),
        ("../dev=dev.json", "write NAME=FILES"),
        ("a=dev.json;a=test.json", "two sets are called a"),
        ("a=deev.json", r"data\.also_eval_files: no such file: .*dev\.json"),
    ],
)
def test_sets_that_cannot_be(option, message, files):
    files.evaluation.every = ""
    files.data.also_eval_files = option
    with pytest.raises(ConfigError, match=message):
        validate(files, eval_only=True)


def test_the_built_in_world_has_no_sets():
    config = recipe("entailment")
    config.data.also_eval_files = "dev=dev.json"
    with pytest.raises(ConfigError, match="the built-in world has no files"):
        validate(config)


def test_figures_of_what_chose_the_step_say_so(files):
    files.data.val_files = "dev.json"
    assert remark(files) == ""
    files.data.eval_files = "dev.json,test.json"
    assert remark(files) == "; dev.json chose the step, too"
    files.checkpoint.best = ""
    assert remark(files) == ""


def test_scenes_are_others(files):
    config = recipe("entailment")
    assert config.data.scenes.eval_split == "val"
    assert of_validation(config).data.scenes.eval_split == "test"
    config.data.scenes.eval_split = "test"
    assert of_validation(config).data.scenes.eval_split == "val"
