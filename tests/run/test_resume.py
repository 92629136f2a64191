"""A run that was stopped continues bit for bit (CPU)."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import Interrupted
from albef_jax.observability.metrics import read_lines
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.train.loop import train
from tests.helpers.tiny_run import scenes_config


class Stopped(Exception):
    pass


def crash():
    raise Stopped


# What all runs do alike, of the first of them: tracing it takes longest.
STEPS: list[Callable] = []
STARTS: list[Callable] = []


def train_in(workdir: Path, stop_at: int | None = None, how: Callable[[], None] = crash):
    """Train in `workdir`; `how` is called when step `stop_at` asks for its batch."""
    workdir.mkdir(exist_ok=True)
    task = Pretraining(scenes_config(), workdir)
    whole, step = task.batches, task.step

    def stopping(start: int, mesh):
        for number, batch in enumerate(whole(start, mesh), start + 1):
            if number == stop_at:
                how()
            yield batch

    def traced_once(*arguments):
        if not STEPS:
            STEPS.append(step(*arguments))
        return STEPS[0]

    STARTS.append(task.init_state)
    task.batches, task.step, task.init_state = stopping, traced_once, STARTS[0]
    task.memory = lambda mesh, abstract: None  # needs another trace; shown in whole runs
    mesh = make_mesh(devices=jax.devices()[:1])
    with Checkpoints(workdir / "checkpoints", keep=2) as checkpoints:
        return train(task, workdir, mesh, checkpoints, log_every=3, save_every=3)


def assert_same_bits(ours, theirs):
    ours, theirs = (jax.tree.leaves_with_path(tree.items()) for tree in (ours, theirs))
    assert len(ours) == len(theirs)
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    return train_in(workdir), read_lines(workdir / "metrics.jsonl"), workdir


def learnt(lines: list[dict]) -> list[dict]:
    """Log lines without what depends on the clock."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


TIMES = ("pairs_per_s", "data_wait")


@pytest.mark.parametrize("stop_at", [4, 6, 2])
def test_crash_and_continue_equals_unbroken(unbroken, tmp_path, stop_at):
    """Stopped right after a checkpoint, between two, and before the first."""
    with pytest.raises(Stopped):
        train_in(tmp_path, stop_at)
    state = train_in(tmp_path)
    assert int(state.step) == 6
    assert_same_bits(state, unbroken[0])
    assert learnt(read_lines(tmp_path / "metrics.jsonl")) == learnt(unbroken[1])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_the_run_continues(unbroken, tmp_path, capsys, signum):
    handler = signal.getsignal(signum)
    with pytest.raises(Interrupted) as stopped:
        train_in(tmp_path, stop_at=5, how=lambda: signal.raise_signal(signum))
    assert stopped.value.signum == signum
    assert signal.getsignal(signum) == handler
    assert "saved step 5" in capsys.readouterr().out
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() == 5
    assert_same_bits(train_in(tmp_path), unbroken[0])


def test_finished_run_is_left_alone(unbroken, capsys):
    first, _, workdir = unbroken
    lines = (workdir / "metrics.jsonl").read_text()
    again = train_in(workdir)
    assert "complete at step 6" in capsys.readouterr().out
    assert_same_bits(first, again)
    assert (workdir / "metrics.jsonl").read_text() == lines


def test_metrics_have_the_promised_fields(unbroken):
    lines = unbroken[1]
    assert [line["step"] for line in lines] == [3, 6]
    promised = (
        "loss loss_itc loss_mlm loss_itm lr temperature alpha pairs_per_s data_wait bad_samples"
    )
    for line in lines:
        assert set(promised.split()) <= line.keys()
        total = line["loss_itc"] + line["loss_mlm"] + line["loss_itm"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        json.dumps(line, allow_nan=False)
