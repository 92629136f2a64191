"""Runs that an earlier version began, under option names of that time, go on where they were."""

import json
import tarfile
from pathlib import Path

import pytest

from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from tests.helpers.tiny_run import scenes_config, task_config

KEPT = Path(__file__).parents[1] / "golden" / "old_runs"
EXPECTED = json.loads((KEPT / "expected.json").read_text())


@pytest.mark.parametrize("task", EXPECTED)
def test_a_run_goes_on(task, tmp_path, one_device, capsys):
    """The losses to come, dropout and all, and the figures at the end are those it would have had
    then."""
    with tarfile.open(KEPT / f"{task}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    config = scenes_config() if task == "pretrain" else task_config(task, steps=6)
    config.checkpoint.update({"every_steps": 3, "keep": 5})
    config.log.every_steps = 1
    run(config, tmp_path / task, "a test", eval_only=False)
    assert "continuing from the checkpoint of step 3" in capsys.readouterr().out
    losses = {line["step"]: line["loss"] for line in read_lines(tmp_path / task / "metrics.jsonl")}
    expected = EXPECTED[task]["losses"]
    assert list(losses.values()) == pytest.approx(expected, rel=1e-4)
    assert losses.keys() == set(range(1, 7))
    found = json.loads((tmp_path / task / "results.json").read_text())["retrieval"]
    before = EXPECTED[task]["retrieval"]
    for branch in ("itc", "itm"):
        for way, recalls in before[branch].items():
            if isinstance(recalls, dict):
                assert found[branch][way] == pytest.approx(recalls, abs=0.1)
