"""A finished run is given more steps; a new run begins with a step of another."""

import json
import shutil

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.errors import RunError
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.validate import validate
from albef_jax.workdir import trajectory
from tests.helpers.tiny_run import task_config

pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")


def config(**train):
    """Four steps of entailment, judged and saved at every second."""
    made = task_config("entailment", dropout=0.0, **train)
    made.checkpoint.keep = 5
    made.evaluation.every = "2 steps"
    return made


def start(config, workdir, **options):
    validate(config)
    run(config, workdir, "the command", eval_only=False, **options)
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(one_device, drawn_weights, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, start(config(), workdir)


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copied")


def lines(workdir):
    times = ("pairs_per_s", "data_wait")
    return [
        {name: value for name, value in line.items() if name not in times}
        for line in read_lines(workdir / "metrics.jsonl")
    ]


def same_weights(ours, theirs):
    ours, theirs = (read_checkpoint(step).params for step in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_more_steps_have_to_be_meant(copied):
    with pytest.raises(RunError, match=r"or --extend to go on with this one:\n.*train\.steps: 4"):
        start(config(steps=6), copied)
    with pytest.raises(RunError, match="or the same configuration to continue:") as refused:
        start(config(momentum=0.5), copied, extend=True)
    assert "train.momentum" in str(refused.value)


def test_a_run_is_extended(whole, copied):
    longer = config(steps=6)
    longer.optimizer.lr = 5e-4
    results = start(longer, copied, extend=True)
    assert [one["step"] for one in results["validation"]["steps"]] == [2, 4, 6]
    assert lines(copied)[:2] == lines(whole[0])
    assert lines(copied)[2]["step"] == 6
    (entry,) = json.loads((copied / "history.json").read_text())
    assert entry["until_step"] == 4
    assert entry["changed"] == {"optimizer.lr": [1e-3, 5e-4], "train.steps": [4, 6]}
    assert entry["config"]["train"]["steps"] == 4
    assert json.loads((copied / "config.json").read_text())["train"]["steps"] == 6
    report = (copied / "report" / "index.html").read_text()
    assert "Extended at step 4, with <code>optimizer.lr</code> 0.001 → 0.0005" in report
    # The same command goes on without the flag, and with it changes nothing more.
    start(longer, copied)
    start(longer, copied, extend=True)
    assert len(json.loads((copied / "history.json").read_text())) == 1


def test_a_branch_with_the_same_options_is_the_same_run(whole, tmp_path, capsys):
    workdir, _ = whole
    start(config(), tmp_path, branch_from=workdir / "checkpoints" / "2")
    printed = capsys.readouterr().out
    assert f"branched from {workdir / 'checkpoints' / '2'}" in printed
    assert "continuing from the checkpoint of step 2" in printed
    same_weights(tmp_path / "checkpoints" / "4", workdir / "checkpoints" / "4")
    assert lines(tmp_path) == lines(workdir)
    assert trajectory.read(tmp_path) == trajectory.read(workdir)
    assert "Branched from" in (tmp_path / "report" / "index.html").read_text()
    # The same command goes on with the branch.
    start(config(), tmp_path, branch_from=workdir / "checkpoints" / "2")
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1


def test_a_branch_may_have_other_options(whole, tmp_path):
    (tmp_path / "config.json").write_text("{}")  # of a start that saved nothing
    other = config(steps=6)
    other.seed = 1
    other.optimizer.lr = 5e-4
    start(other, tmp_path, branch_from=whole[0])
    (entry,) = json.loads((tmp_path / "history.json").read_text())
    assert entry["step"] == 4  # the newest
    assert entry["changed"] == {"optimizer.lr": [1e-3, 5e-4], "seed": [0, 1], "train.steps": [4, 6]}


def test_what_cannot_be_branched_from(whole, copied, tmp_path):
    new = tmp_path / "new"
    other = config()
    other.model.dropout = 0.3
    with pytest.raises(RunError, match=r"model\.dropout must be as there"):
        start(other, new, branch_from=copied)
    with pytest.raises(RunError, match="no checkpoint in this directory"):
        start(config(), new, branch_from=tmp_path / "nowhere")
    weights = next((copied / "checkpoints" / "4").rglob("ocdbt.process_0/d/*"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RunError, match="damaged"):
        start(config(), new, branch_from=copied / "checkpoints" / "4")
    assert not (new / "checkpoints").exists() or not any((new / "checkpoints").iterdir())
