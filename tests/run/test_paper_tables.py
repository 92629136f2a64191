"""Each command of `docs/paper.md`, on made-up data in the official formats, with a tiny model."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from albef_jax.checkpoints.official.state_dict import to_official
from albef_jax.checkpoints.official.weights_file import OfficialFile, write_weights
from albef_jax.config import use_preset
from albef_jax.config.defaults import model_config
from albef_jax.evaluate import queries
from albef_jax.models.albef import teacher_params
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers import official_data
from tests.helpers.pages import ROOT
from tests.helpers.recipes import recipe
from tests.helpers.tiny_model import random_params
from tests.helpers.tiny_run import SIZES, task_config

pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")

PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
TINY = {**SIZES, "vocab_size": 30_522, "max_positions": 48, "dropout": 0.0}
SHRUNK = {"contrast_group": 4, "queue_size": 16}


def named(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def configured(command: list[str]):
    """The configuration of a command, but for what it starts from."""
    file, _, preset = named(command, "--config").partition(":")
    config = recipe(Path(file).stem, preset)
    for word in command:
        name, _, value = word.removeprefix("--config.").partition("=")
        if word.startswith("--config.") and not name.startswith("init."):
            config.update_from_flattened_dict({name: value})
    return config


def shrunk(config):
    """The same in seconds: nothing changes but sizes, dropout, length of the run, and threads."""
    use_preset(config, "tiny", **TINY)
    config.data.threads = 2
    config.train.update({"batch_size": 4, "epochs": 2})
    config.train.update({name: size for name, size in SHRUNK.items() if name in config.train})
    config.evaluation.batch_size = 4
    for name, value in {"layer": 1, "image_block": 0, "rank": 4, "rerank": 4}.items():
        if name in config.evaluation:
            config.evaluation[name] = value
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """With the checkpoints that the authors published, but tiny."""
    root = tmp_path_factory.mktemp("paper")
    official_data.make(root)
    config = task_config("pretrain")
    use_preset(config, "tiny", **TINY)
    params = random_params(model_config(config), 0)
    state = to_official(params, teacher_params(params), {})
    for name in ("ALBEF.pth", "ALBEF_4M.pth"):
        write_weights(root / name, OfficialFile(state), ".pth")
    return root


@pytest.fixture(scope="module")
def results_of(one_device, drawn_weights, data):
    """Runs a command, and first the one it starts from; results of each are made once."""
    by_workdir = {named(command, "--workdir"): command for command in COMMANDS}

    @cache
    def run_once(workdir: str) -> dict:
        command = by_workdir[workdir]
        config = shrunk(configured(command))
        begin = [word for word in command if word.startswith("--config.init.checkpoint=")]
        if begin:
            config.init.checkpoint = begin[0].partition("=")[2]
            if config.init.checkpoint in by_workdir:
                run_once(config.init.checkpoint)
        validate(config, "--eval_only" in command)
        run(config, data / workdir, "the command", eval_only="--eval_only" in command)
        return json.loads((data / workdir / "results.json").read_text())

    return run_once


@pytest.fixture(autouse=True)
def where_the_data_are(data, monkeypatch):
    monkeypatch.chdir(data)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: named(command, "--workdir"))
def test_every_command_finds_its_files(command):
    validate(configured(command), "--eval_only" in command)


def test_every_task_of_the_paper_is_there():
    files = {Path(named(command, "--config").partition(":")[0]).stem for command in COMMANDS}
    downstream = {"retrieval", "vqa", "nlvr_pretrain", "nlvr", "entailment", "grounding"}
    assert files == {"pretrain", *downstream}


# 4M and 14M differ in what they start from alone.
@pytest.mark.slow
@pytest.mark.parametrize("workdir", ["runs/flickr_4m", "runs/coco_4m"])
def test_retrieval(workdir, results_of):
    """The best epoch by the validation set; the test set and the validation set by their names."""
    results = results_of(workdir)
    assert [one["epoch"] for one in results["validation"]["steps"]] == [1.0, 2.0]
    assert results["validation"]["score"] == "itm_r_mean"
    assert results["step"] == results["validation"]["best_step"]
    assert results["retrieval"]["captions"] == 8
    assert results["also"]["val"]["retrieval"]["captions"] == 8
    assert "chose the step, too" in results["also"]["val"]["evaluated_on"]
    assert "chose" not in results["evaluated_on"]
    rows = queries.read(Path(workdir))
    assert len(rows) == 4 + 8  # images and captions
    share = 100 * np.mean([row["itc_rank"] == "1" for row in rows[4:]])
    assert share == pytest.approx(results["retrieval"]["itc"]["image_retrieval"]["r1"])


@pytest.mark.slow
def test_retrieval_without_training(results_of):
    zero_shot = results_of("runs/zeroshot_4m")
    assert zero_shot["retrieval"]["images"] == 4


@pytest.mark.parametrize(
    ("workdir", "count", "dev"),
    [
        ("runs/snli_ve_4m", 6, "ve_dev.json"),
        pytest.param("runs/nlvr2_4m", 4, "nlvr_dev.json", marks=pytest.mark.slow),
    ],
)
def test_entailment_and_nlvr2(workdir, count, dev, results_of):
    results = results_of(workdir)
    assert results["judgement"]["count"] == count
    best = results["validation"]["best_step"]
    (chosen,) = (one for one in results["validation"]["steps"] if one["step"] == best)
    assert chosen["scores"] == results["also"]["dev"]["scores"]
    for folder, figures in (("", results), ("evaluation/dev", results["also"]["dev"])):
        rows = queries.read(Path(workdir) / folder)
        share = 100 * np.mean([row["right"] == "1" for row in rows])
        assert share == pytest.approx(figures["judgement"]["accuracy"])
        assert len(rows) == count and all(row["text"] for row in rows)
    report = Path(workdir, "report", "index.html").read_text()
    assert "On further sets" in report and f"{dev} chose the step, too" in report


def test_vqa(results_of):
    results = results_of("runs/vqa_4m")
    assert "validation" not in results  # no epoch is chosen
    answers = json.loads(Path("runs/vqa_4m/answers.json").read_text())
    assert {one["answer"] for one in answers} <= {"red", "green", "a bat", "far", "yes", "no"}
    questions = json.loads(Path("data/vqa_test.json").read_text())
    asked = [one["question_id"] for one in questions]
    assert [one["question_id"] for one in answers] == asked
    rows = queries.read(Path("runs/vqa_4m"))
    assert [row["query"] for row in rows] == [str(one) for one in asked]
    assert [row["answer"] for row in rows] == [one["answer"] for one in answers]
    assert {row["right"] for row in rows} == {""}  # nobody knows


def test_grounding(results_of):
    results = results_of("runs/refcoco_14m")
    assert results["grounding"]["itm"]["accuracy"].keys() == {"val", "testA", "testB"}
    assert "refcoco+_val.json chose the step, too" in results["evaluated_on"]
    rows = queries.read(Path("runs/refcoco_14m"))
    assert [row["split"] for row in rows] == ["val", "val", "testA", "testB"]
    share = 100 * np.mean([row["right"] == "1" for row in rows[:2]])
    assert share == pytest.approx(results["grounding"]["itm"]["accuracy"]["val"])


@pytest.mark.slow
def test_pretraining(results_of):
    assert results_of("runs/4m")["task"] == "pretrain"
