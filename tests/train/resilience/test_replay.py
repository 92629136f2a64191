"""A run that diverges stops, and keeps the step that it stopped at so that it can be run again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.errors import CheckpointError, RunError
from albef_jax.observability.metrics import read_lines
from albef_jax.run import replay_step, run
from albef_jax.train.resilience import replay
from tests.helpers.processes import quick_start
from tests.helpers.tiny_run import SKIPS, diverging

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def stopped(one_device, tmp_path_factory):
    """The workdir of a run that diverged, and what it said."""
    workdir = tmp_path_factory.mktemp("diverged")
    with pytest.raises(RunError) as error:
        run(diverging(), workdir, "the command", eval_only=False)
    return workdir, str(error.value)


def bundle_of(workdir: Path) -> Path:
    (bundle,) = workdir.glob("replay-*")
    return bundle


def test_the_run_stops_and_names_the_bundle(stopped):
    workdir, message = stopped
    bundle = bundle_of(workdir)
    assert f"{SKIPS} steps in a row were not finite" in message
    assert f"--replay={bundle}" in message
    record = json.loads((bundle / "replay.json").read_text())
    assert bundle.name == f"replay-{record['step']}"
    assert record["metrics"]["loss"] in ("nan", "inf")
    assert len(record["sample_index"]) == 8
    skipped = [line["skipped"] for line in read_lines(workdir / "metrics.jsonl")]
    assert skipped == [0] * (len(skipped) - SKIPS) + [1] * SKIPS
    assert record["step"] == len(skipped)


def test_the_bundle_is_the_step(stopped):
    workdir, _ = stopped
    bundle = bundle_of(workdir)
    recorded = replay.read_bundle(bundle)
    assert recorded.batch.keys() >= {"image", "text_ids", "text_mask", "sample_index"}
    assert not any(path.suffix in (".pkl", ".pickle") for path in bundle.rglob("*"))
    (state,) = (path.name for path in (bundle / "checkpoints").iterdir() if path.name.isdigit())
    assert int(state) == recorded.step - 1


def test_replaying_gives_the_same_bits_and_says_where_it_begins(stopped, capsys):
    bundle = bundle_of(stopped[0])
    assert replay_step(diverging(), bundle)
    told = capsys.readouterr().out
    assert "first not finite: loss_" in told
    assert "grad_norm/image_encoder" in told
    assert told.rstrip().endswith("\nreproduced")


def test_another_outcome_is_told(stopped, tmp_path, capsys):
    bundle = tmp_path / "replay"
    bundle.symlink_to(bundle_of(stopped[0]))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in bundle.iterdir():
        (copy / path.name).symlink_to(path.resolve())
    record = json.loads((bundle / "replay.json").read_text())
    record["metrics"]["loss_itm"] = 0.5
    (copy / "replay.json").unlink()
    (copy / "replay.json").write_text(json.dumps(record))
    assert not replay_step(diverging(), copy)
    assert "NOT reproduced: different are loss_itm" in capsys.readouterr().out


def test_a_workdir_keeps_few_bundles(tmp_path):
    """They are as large as a checkpoint, and a scheduler may start the run again and again."""
    for number in range(replay.MOST):
        (tmp_path / f"replay-{number}").mkdir()
        (tmp_path / f"replay-{number}" / "replay.json").write_text("{}")
    last = f"replay-{replay.MOST - 1}"
    assert replay.write_bundle(tmp_path, None, {}, None, 77, {}, None) == tmp_path / last
    assert replay.write_bundle(tmp_path, None, {}, None, 0, {}, None) == tmp_path / "replay-0"
    assert len(list(tmp_path.iterdir())) == replay.MOST


def test_another_configuration_is_refused(stopped):
    config = diverging()
    config.optimizer.lr = 1e29
    with pytest.raises(RunError, match=r"optimizer\.lr: 1e\+30 there, 1e\+29 now"):
        replay_step(config, bundle_of(stopped[0]))


@pytest.mark.parametrize("damage", ["absent", "no batch", "not json"])
def test_no_whole_bundle_is_one_clear_error(tmp_path, damage):
    bundle = tmp_path / "replay-3"
    if damage != "absent":
        bundle.mkdir()
        text = '{"step": 3, "processes": 1, "metrics": {}}' if damage == "no batch" else "{"
        (bundle / "replay.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"replay-3: no whole replay bundle"):
        replay.read_bundle(bundle)
    with pytest.raises(RunError, match=r"replay-3: no whole replay bundle"):
        replay_step(diverging(), bundle)


def test_another_number_of_processes_is_refused(tmp_path):
    (tmp_path / "replay.json").write_text('{"step": 3, "processes": 4, "metrics": {}}')
    with pytest.raises(CheckpointError, match="of 4 processes, this job has 1"):
        replay.read_bundle(tmp_path)


def test_where_it_begins():
    fine = {"loss": 1.0, "loss_itc": 1.0, "grad_norm": 1.0, "grad_norm/image_encoder": 1.0}
    bad_loss = fine | {"loss": np.nan, "loss_itc": np.inf, "grad_norm/image_encoder": np.nan}
    backward = fine | {
        "grad_norm": np.nan,
        "grad_norm/image_encoder": np.nan,
        "grad_norm/fusion_encoder": np.inf,
        "grad_norm/text_encoder": np.nan,
    }
    assert replay.first_not_finite(fine, {}) == "nothing: the step is finite"
    assert replay.first_not_finite(bad_loss, {}) == "loss_itc"
    assert replay.first_not_finite(bad_loss, {"mlm_head": 3}) == "parameters of mlm_head (3 values)"
    assert replay.first_not_finite(backward, {}).startswith("the gradient of fusion_encoder;")
    heads = backward | {"grad_norm/itm_head": np.nan}
    assert replay.first_not_finite(heads, {}).startswith("the gradient of itm_head;")


def test_poisoned_parameters_are_counted_by_module():
    params = {"a": {"kernel": jax.numpy.array([1.0, np.nan, np.inf])}, "b": jax.numpy.ones(2)}
    assert replay.nonfinite_modules(params) == {"a": 2}


def test_equal_means_every_bit_and_no_number_equals_itself():
    assert replay.differing_metrics({"a": np.nan, "b": 1.0}, {"a": np.nan, "b": 1.0}) == []
    assert replay.differing_metrics({"a": 1.0, "b": 1.0}, {"a": np.nextafter(1, 2), "c": 1.0}) == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.slow
def test_by_command_line(stopped, tmp_path):
    """Exit code 2 for no bundle; the codes 0 and 1 are those of `replay_step`."""
    file = tmp_path / "recipe.py"
    file.write_text("from tests.helpers.tiny_run import diverging\n\nget_config = diverging\n")
    command = [sys.executable, "-m", "albef_jax.main", "--config", str(file)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        **quick_start(),  # as in the run
    }
    for bundle, code in ((bundle_of(stopped[0]), 0), (tmp_path / "absent", 2)):
        ended = subprocess.run(
            [*command, f"--replay={bundle}"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
