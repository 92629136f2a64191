"""Training on questions with different numbers of answers, from files to the steps of a run."""

import json
import shutil

import cv2
import numpy as np
import pytest

from albef_jax.config.tasks import task_spec
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.losses.vqa import VqaLoss
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers.kill_runs import assert_same, outcome
from tests.helpers.processes import group_flags, started
from tests.helpers.tiny_run import task_config

COUNT, BATCH = 24, 8
COLOURS = ("red", "blue", "green", "yellow")
pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 1)


def config_of(folder, answers, **train):
    """Question n has the answers `answers(n)`."""
    scenes = ScenesSource("train", COUNT, 32)
    for n in range(COUNT):
        cv2.imwrite(str(folder / f"{n}.png"), scenes[n].image)
    items = [
        {"image": f"{n}.png", "question": "what", "question_id": n, "answer": answers(n)}
        for n in range(COUNT)
    ]
    (folder / "items.json").write_text(json.dumps(items))
    config = task_config("vqa", **train)
    files = {"source": "json", "root": str(folder), "train_files": "items.json"}
    config.data.update({**files, "eval_files": "items.json", "max_answers": 10})
    validate(config)
    return config


def mixed(n):
    """One answer, but for every sixth question, which has three."""
    return ["red"] if n % 6 else list(COLOURS[:3])


def program(folder, answers, **train):
    return task_spec("vqa").run(config_of(folder, answers, **train), folder)


def few(n):
    """The same, but for every twelfth, which has four."""
    return list(COLOURS) if n % 12 == 0 else ["red"]


def test_rows_follow_from_the_answers_of_the_data(tmp_path, one_device):
    task = program(tmp_path, mixed)
    mean, deviation = 4 / 3, np.sqrt(5 / 9)
    assert task.answer_counts.tolist() == [3, 1, 1, 1, 1, 1] * 4
    rows = int(np.ceil(BATCH * mean + 3 * deviation * np.sqrt(BATCH)))
    assert task.loss() == VqaLoss(task.trained_model, rows, BATCH)
    assert rows < BATCH * 3
    assert task.sizes()["questions by answers"] == [0, 20, 0, 4]
    batch = next(task.batches(0, one_device))
    shapes = task.row_shapes()
    for name in ("answer_ids", "answer_mask", "answer_weight"):
        assert batch[name].shape == (BATCH, *shapes[name].shape)
        assert batch[name].shape[1] == 3


def test_rows_are_those_of_a_micro_batch_on_a_device(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 2)
    assert program(tmp_path, few, microbatches=2).loss().contrast_group == 2


def test_one_answer_each_needs_no_packing(tmp_path, one_device):
    """Whatever `data.max_answers` allows; nor do as many as there may be."""
    task = program(tmp_path, lambda n: ["red"])
    assert task.loss() == VqaLoss(task.trained_model, None, BATCH)
    assert next(task.batches(0, one_device))["answer_weight"].shape == (BATCH, 1)
    assert program(tmp_path, lambda n: list(COLOURS)).loss().rows is None


def test_a_packed_run_goes_on_bit_for_bit(tmp_path, one_device, monkeypatch):
    """With micro-batches that take one pass, and others that take two or three."""
    monkeypatch.setattr("albef_jax.tasks.vqa.rows_of_a_pass", lambda *_: 5)
    config = config_of(tmp_path, lambda n: list(COLOURS) if n % 4 == 0 else ["red"], microbatches=2)
    config.log.every_steps = 1
    batches = task_spec("vqa").run(config, tmp_path).batches(0, one_device)
    weights = [batch["answer_weight"] for batch in batches]
    answers = np.sum(np.stack(weights).reshape(-1, BATCH // 2, 4) > 0, axis=(1, 2))
    assert {1, 2} <= set(-(-answers // 5))
    run(config, tmp_path / "whole", "the command", eval_only=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "4")
    run(config, tmp_path / "again", "the command", eval_only=False)
    assert_same(outcome(tmp_path / "again"), outcome(tmp_path / "whole"))
    assert len(list(read_lines(tmp_path / "again" / "metrics.jsonl"))) == 4


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """The same four devices, parameters cut over two of them."""
    config_of(tmp_path, few)
    given = {"source": "json", "root": tmp_path, "train_files": "items.json", "max_answers": 10}
    flags = [f"--config.data.{name}={value}" for name, value in given.items()]
    flags += ["--config.train.batch_size=16", "--config.mesh.fsdp=2", "--config.log.every_steps=1"]
    command = ["-m", "albef_jax.main", "--config", "tests/helpers/tiny_run.py:vqa", *flags]
    losses = {}
    for devices, groups in ((4, [[]]), (2, group_flags())):
        workdir = tmp_path / str(devices)
        commands = [[*command, f"--workdir={workdir}", *group] for group in groups]
        with started(commands, devices) as processes:
            codes = [process.end() for process in processes]
        assert not any(codes), processes[0].text
        losses[devices] = [line["loss"] for line in read_lines(workdir / "metrics.jsonl")]
    assert len(losses[4]) == 4
    np.testing.assert_allclose(losses[2], losses[4], rtol=1e-5)
