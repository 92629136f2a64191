"""Evaluation while training: which step is kept, reported and read, whatever happens in between."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.errors import UnsoundScores
from albef_jax.run import run
from albef_jax.tasks.entailment import Entailment
from albef_jax.validate import validate
from albef_jax.workdir import trajectory
from tests.helpers.tiny_run import task_config

pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")

EVALUATE = Entailment.evaluate
FOUND: list = []  # what one evaluation gave: that others would give the like is shown elsewhere


def judged_config():
    config = task_config("entailment", dropout=0.0, steps=6)
    config.checkpoint.update({"every_steps": 100, "keep": 1})
    config.evaluation.every = "2 steps"
    return config


@pytest.fixture
def scores(monkeypatch):
    """What the evaluations while training find, by step; an error is raised."""
    wanted: dict[int, float | BaseException] = {2: 60.0, 4: 60.0, 6: 50.0}

    def evaluate(task, state, mesh):
        if task.workdir.name != "validation":
            return EVALUATE(task, state, mesh)
        if not FOUND:
            FOUND.append(EVALUATE(task, state, mesh))
        score = wanted[int(state.step)]
        if isinstance(score, BaseException):
            raise score
        return replace(FOUND[0], scores={"accuracy": score})

    monkeypatch.setattr(Entailment, "evaluate", evaluate)
    return wanted


def start(workdir, eval_only=False, config=None):
    config = config or judged_config()
    validate(config, eval_only)
    run(config, workdir, "the command", eval_only=eval_only)
    return json.loads((workdir / "results.json").read_text())


def kept(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_the_best_step_is_kept_reported_and_read(scores, tmp_path, capsys):
    """Of equal scores the earlier step, though two are newer and only one is to be kept."""
    results = start(tmp_path)
    assert results["step"] == 2
    assert results["validation"] == {
        "judged_on": "other unseen scenes (split test)",
        "score": "accuracy",
        "best_step": 2,
        "steps": [
            {"step": 2, "epoch": 0.333, "scores": {"accuracy": 60.0}},
            {"step": 4, "epoch": 0.667, "scores": {"accuracy": 60.0}},
            {"step": 6, "epoch": 1.0, "scores": {"accuracy": 50.0}},
        ],
    }
    assert kept(tmp_path) == [2, 6]
    assert read_checkpoint(tmp_path).step == 2
    assert read_checkpoint(tmp_path / "checkpoints").step == 6
    printed = capsys.readouterr().out
    assert "step 4, epoch 0.667, validation: accuracy 60.00  (best: step 2)" in printed
    assert "step 2 is the best by accuracy" in printed
    report = (tmp_path / "report" / "index.html").read_text()
    assert "Step 2 is the best by" in report and "Scores while training" in report

    assert start(tmp_path, eval_only=True) == results
    assert start(tmp_path) == results  # complete: nothing is judged again

    # Without a choice the last step counts, and a damaged best one is told.
    config = judged_config()
    config.checkpoint.best = ""
    assert start(tmp_path, config=config)["step"] == 6
    (tmp_path / "checkpoints" / "2" / "params" / "_METADATA").write_text("lost")
    assert start(tmp_path)["step"] == 6
    assert "checkpoint of step 2" in capsys.readouterr().err


def test_an_evaluation_that_was_killed_is_done_again(scores, tmp_path):
    """The step is saved before it is judged, so the next start judges it and trains on."""
    whole = start(tmp_path / "whole")
    scores[4] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "killed")
    assert [one.step for one in trajectory.read(tmp_path / "killed")] == [2]
    assert kept(tmp_path / "killed") == [2, 4]
    scores[4] = 60.0
    assert start(tmp_path / "killed") == whole
    ours, theirs = (
        read_checkpoint(tmp_path / name / "checkpoints").params for name in ("killed", "whole")
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_that_falls_back_judges_again(scores, tmp_path):
    start(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    scores |= {4: 70.0, 6: 80.0}
    again = start(tmp_path)["validation"]
    assert [one["scores"]["accuracy"] for one in again["steps"]] == [60.0, 70.0, 80.0]
    assert again["best_step"] == 6


def test_scores_that_are_not_finite_are_never_the_best(scores, tmp_path, capsys):
    scores |= {2: float("nan"), 4: UnsoundScores("the logits are not finite"), 6: 40.0}
    results = start(tmp_path)
    assert results["step"] == 6
    found = [one["scores"]["accuracy"] for one in results["validation"]["steps"]]
    assert found == [None, None, 40.0]
    assert "step 4 cannot be judged: the logits are not finite" in capsys.readouterr().out


def test_without_a_finite_score_the_last_step_counts(scores, tmp_path):
    scores |= dict.fromkeys(scores, float("nan"))
    results = start(tmp_path)
    assert (results["step"], results["validation"]["best_step"]) == (6, None)
    assert "No step was chosen" in (tmp_path / "report" / "index.html").read_text()
