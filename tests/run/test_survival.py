"""What a whole run does when a checkpoint is damaged, the workdir in use, the disk full or dead."""

import errno
import json
import shutil
import time

import jax
import pytest

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import CheckpointError, RunError
from albef_jax.run import run
from albef_jax.system import atomic
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.train.loop import train
from albef_jax.train.resilience.nonfinite import Guards
from albef_jax.workdir.lock import locked
from tests.helpers.tiny_run import scenes_config

pytestmark = pytest.mark.usefixtures("one_device")


def start(workdir, eval_only=False):
    return run(scenes_config(), workdir, "the command", eval_only=eval_only)


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(one_device, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    start(workdir)
    return workdir


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy whose newest checkpoint, of step 6, has lost a file."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / "checkpoints" / "6" / "params" / "manifest.ocdbt").unlink()
    return workdir


def test_training_goes_on_from_the_step_before(damaged, finished, capsys):
    start(damaged)
    assert "params/manifest.ocdbt is missing. Falling back to step 3" in capsys.readouterr().err
    names = {path.name for path in (damaged / "checkpoints").iterdir()}
    assert names >= {"3", "6", "broken-6"}
    assert results(damaged) == results(finished)


def test_evaluation_takes_the_step_before_and_moves_nothing(damaged, capsys):
    before = sorted(path.name for path in (damaged / "checkpoints").iterdir())
    start(damaged, eval_only=True)
    assert "Falling back to step 3" in capsys.readouterr().err
    assert results(damaged)["step"] == 3
    assert sorted(path.name for path in (damaged / "checkpoints").iterdir()) == before


def test_reading_takes_the_step_before_with_a_warning(damaged):
    with pytest.warns(UserWarning, match=r"checkpoints/6 is damaged: params/manifest\.ocdbt is"):
        assert read_checkpoint(damaged).step == 3
    with pytest.raises(CheckpointError, match="6: damaged: params/manifest"):
        read_checkpoint(damaged / "checkpoints" / "6")


def test_all_damaged_is_an_error_and_no_new_start(damaged):
    (damaged / "checkpoints" / "3" / "train" / "_METADATA").unlink()
    for _ in range(2):
        with pytest.raises(RunError, match=r"(?s)no checkpoint can be used.*step 6.*step 3"):
            start(damaged)


def test_a_workdir_in_use_is_refused(finished):
    with locked(finished):
        for eval_only in (False, True):
            with pytest.raises(RunError, match="is in use by process"):
                start(finished, eval_only)


def test_a_full_disk_is_one_line(finished, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "write_text", full)
    with pytest.raises(RunError, match=r"No space left on device.*Make room"):
        start(finished)


class Stuck(Exception):
    pass


def test_a_source_that_blocks_is_named(tmp_path):
    task = Pretraining(scenes_config(), tmp_path)

    def blocked(*_):
        """A disk that answers only after the watchdog has spoken."""
        patience = time.monotonic() + 300
        while not (tmp_path / "stalls-0.txt").exists() and time.monotonic() < patience:
            time.sleep(0.01)
        raise Stuck
        yield

    task.batches = blocked
    mesh = make_mesh(devices=jax.devices()[:1])
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints, pytest.raises(Stuck):
        guards = Guards(stall_seconds=0.1)
        train(task, tmp_path, mesh, checkpoints, log_every=3, save_every=3, guards=guards)
    told = (tmp_path / "stalls-0.txt").read_text()
    assert "waiting for the data of step 1" in told
    assert "in blocked" in told
