"""A whole run of two real processes, and others that go on from it or do the same."""

import json
import shutil

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.integrity import damage
from albef_jax.distributed.mesh import make_mesh
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.storage.addresses import join
from tests.helpers.kill_runs import TIMES, assert_same, outcome
from tests.helpers.processes import group_flags, started
from tests.helpers.tiny_run import two_processes

COMMAND = ["-m", "albef_jax.main", "--config", "tests/helpers/tiny_run.py:two"]


def commands(workdir, *flags):
    return [[*COMMAND, f"--workdir={workdir}", *flags, *group] for group in group_flags()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of two processes with two devices each, and what each printed.

    They are started as users start them.
    """
    workdir = tmp_path_factory.mktemp("two") / "run"
    with started(commands(workdir)) as processes:
        codes = [process.end() for process in processes]
        texts = [process.text for process in processes]
    assert codes == [0, 0], texts
    return workdir, texts


def log(workdir):
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in read_lines(workdir / "metrics.jsonl")
    ]


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def run_alone(workdir):
    return run(two_processes(), workdir, "the command", eval_only=False)


def assert_close(found, wanted):
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        for name in (name for name in theirs if name.startswith("loss")):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-5, err_msg=name)


def test_one_process_writes_what_is_there_once(whole):
    workdir, texts = whole
    assert [line["step"] for line in read_lines(workdir / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        "checkpoints",
        "config.json",
        "lock",
        "metrics.jsonl",
        "queries.csv",
        "report",
        "results.json",
        "trained_on.json",
        "validation",
        "validation.jsonl",
    }
    assert damage(workdir / "checkpoints" / "6") is None
    assert "0.0 M parameters on 4 x cpu" in texts[0] and "report/index.html" in texts[0]
    assert not any(word in texts[1] for word in ("step", "evaluating", "report", "memory"))


def test_one_device_does_the_same(whole, one_device, tmp_path):
    workdir, _ = whole
    run_alone(tmp_path / "run")
    assert_close(log(tmp_path / "run"), log(workdir))
    assert results(tmp_path / "run") == results(workdir)


def test_one_process_goes_on(whole, one_device, tmp_path):
    """From step 2 of the two processes, on one of four devices; the losses are theirs."""
    workdir, _ = whole
    again = tmp_path / "run"
    shutil.copytree(workdir, again)
    for step in (4, 6):
        shutil.rmtree(again / "checkpoints" / str(step))
    run_alone(again)
    assert len(log(again)) == 6
    assert_close(log(again), log(workdir))
    assert results(again) == results(workdir)


def test_in_a_bucket_they_need_no_shared_disk(whole, bucket, tmp_path, monkeypatch):
    """Each has local copies of its own; the outcome is that of a shared disk."""
    if bucket.kind == "gs":
        pytest.skip("one kind will do")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workdir = join(bucket.address, "run")
    with started(commands(workdir), forked=True) as processes:
        assert [process.end() for process in processes] == [0, 0], processes[0].text
    assert_same(outcome(workdir), outcome(whole[0]))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_after_a_kill_both_go_on(killed, whole, tmp_path):
    """The survivor ends by itself; the same commands give the bits of the unbroken run."""
    flags = ("--config.hosts.peer_seconds=10",)
    with started(commands(tmp_path / "run", *flags)) as processes:
        processes[0].wait_until_said("step 3/")
        processes[killed].process.kill()
        codes = [process.end() for process in processes]
        survivor = processes[1 - killed]
        assert codes[1 - killed] == 75, survivor.text
        assert "start all again, the same command continues" in survivor.text
    with started(commands(tmp_path / "run", *flags)) as processes:
        assert [process.end() for process in processes] == [0, 0], processes[0].text
        assert "continuing from the checkpoint of step" in processes[0].text
    assert_same(outcome(tmp_path / "run"), outcome(whole[0]))


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_a_signal_to_one_stops_both_at_the_same_step(asked, whole, tmp_path):
    with started(commands(tmp_path / "run")) as processes:
        processes[0].wait_until_said("step 2/")
        processes[asked].process.terminate()
        codes = [process.end() for process in processes]
        texts = [process.text for process in processes]
    assert codes == [143, 143], texts
    assert "saved step" in texts[0] and "saved step" not in texts[1]
    with started(commands(tmp_path / "run")) as processes:
        assert [process.end() for process in processes] == [0, 0], processes[0].text
    assert_same(outcome(tmp_path / "run"), outcome(whole[0]))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["retrieval", "vqa", "nlvr", "nlvr_pretrain", "grounding"])
def test_other_tasks_too(task, tmp_path, monkeypatch):
    """With parameters cut over devices of both processes."""
    command = ["-m", "albef_jax.main", "--config", f"tests/helpers/tiny_run.py:{task}"]
    flags = [f"--workdir={tmp_path / 'run'}", "--config.mesh.fsdp=4"]
    with started([[*command, *flags, *group] for group in group_flags()]) as processes:
        assert [process.end() for process in processes] == [0, 0], processes[0].text
    mesh = make_mesh(devices=jax.devices()[:4])
    monkeypatch.setattr("albef_jax.run.make_mesh", lambda *_: mesh)
    from tests.helpers.tiny_run import task_config

    run(task_config(task), tmp_path / "alone", "the command", eval_only=False)
    assert_close(log(tmp_path / "run"), log(tmp_path / "alone"))
    assert results(tmp_path / "run") == results(tmp_path / "alone")
