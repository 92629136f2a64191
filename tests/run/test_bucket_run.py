"""Whole runs whose workdir is in a bucket, by one process and by several without a shared disk."""

import importlib
import json
import re
import shutil
import sys

import numpy as np
import pytest

from albef_jax.checkpoints.bucket_steps import BucketSteps
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.errors import RunError, came_from
from albef_jax.run import replay_step, run
from albef_jax.storage.addresses import join
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import NoAnswer
from albef_jax.storage.staged import staged
from tests.helpers.faulty_proxy import Fault
from tests.helpers.in_buckets import uploaded
from tests.helpers.kill_runs import assert_same, outcome
from tests.helpers.processes import group_flags, started
from tests.helpers.tar_files import sample, shard
from tests.helpers.tiny_run import diverging, scenes_config

COMMAND = ["-m", "albef_jax.main", "--config", "tests/helpers/tiny_run.py:two"]
DEVICES = 4  # of all processes together


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Local copies of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def workdir(bucket):
    return join(bucket.address, "run")


@pytest.fixture
def one_kind(bucket):
    """For long tests: what differs between kinds is tested in tests/storage, tests/checkpoints."""
    if bucket.kind == "gs":
        pytest.skip("one kind will do")


@pytest.fixture(scope="module")
def on_disk(one_device, tmp_path_factory):
    """The outcome of the run in a directory."""
    directory = tmp_path_factory.mktemp("disk") / "run"
    start(directory)
    return outcome(directory)


@pytest.fixture(scope="module")
def kept() -> dict[str, dict[str, bytes]]:
    """What a run has left in a bucket of each kind, once there was one."""
    return {}


def everything(workdir):
    folder = BucketFolder(workdir)
    return {name: folder.read(name) for name in folder.entries()}


@pytest.fixture
def ended(workdir, one_device, bucket, kept):
    """The address of a run that has ended: the first of a kind, or a copy of it."""
    if bucket.kind not in kept:
        start(workdir)
        kept[bucket.kind] = everything(workdir)
    else:
        copied(kept[bucket.kind], workdir)
    return workdir


def copied(files, address):
    folder = BucketFolder(address)
    for name, content in files.items():
        folder.write(name, content)


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Says a command of `tools`, and returns what it prints."""

    def say(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        capsys.readouterr()
        code = importlib.import_module(tool).main()
        told = capsys.readouterr()
        assert code == 0, told.err
        return told.out

    return say


def config(**storage):
    made = scenes_config()
    made.storage.update({"retry_seconds": 2, "lock_seconds": 2, **storage})
    return made


def start(workdir, made=None, **options):
    return run(made or config(), workdir, "the command", eval_only=False, **options)


def test_it_is_the_run_of_a_disk(workdir, on_disk, bucket, kept, cache, capsys):
    start(workdir)
    assert f"all is kept in {workdir}" in capsys.readouterr().out
    assert_same(outcome(workdir), on_disk)
    kept[bucket.kind] = everything(workdir)
    files = ["config.json", "queries.csv", "report/index.html", "results.json", "trained_on.json"]
    assert set(files) <= kept[bucket.kind].keys()
    assert not list((cache / "albef_jax" / "workdirs").rglob("process-*"))  # nothing stays here
    start(workdir)
    assert "training is complete at step 6" in capsys.readouterr().out


def test_a_run_that_is_stopped_goes_on(one_kind, workdir, on_disk, monkeypatch):
    """Its last save fails, as when a host is lost: the next start goes on from the one before."""
    upload = BucketSteps.upload

    def lost(self, step, written):
        if step == 6:
            raise ConnectionError("the network is gone")
        upload(self, step, written)

    with monkeypatch.context() as patch, pytest.raises(RunError) as error:
        patch.setattr(BucketSteps, "upload", lost)
        start(workdir)
    told = str(error.value)
    assert "the network is gone" in told and "steps 3 are intact" in told and "\n" not in told
    start(workdir)
    assert_same(outcome(workdir), on_disk)


def test_another_configuration_is_refused_by_the_name_that_the_user_knows(one_kind, ended):
    other = config()
    other.train.momentum = 0.5
    with pytest.raises(RunError) as error:
        start(ended, other)
    assert f"{ended}/config.json belongs to another configuration" in str(error.value)
    assert "train.momentum: 0.995 there, 0.5 now" in str(error.value)


@pytest.mark.parametrize(
    ("address", "faults", "told"),
    [
        ("{kind}://nowhere/run", (), "there is no bucket nowhere; make it, or correct the name"),
        ("{kind}://bucket/run", (Fault(status=403),), "access denied"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line(bucket, address, faults, told):
    with bucket.proxy.faulty(*faults), pytest.raises(RunError) as error:
        start(address.format(kind=bucket.kind))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_bucket_that_gives_no_answer_for_long_is_worth_another_start(bucket):
    if bucket.kind == "gs":
        pytest.skip("gcsfs itself tries for half a minute")
    with bucket.proxy.faulty(Fault(status=503)), pytest.raises(RunError) as error:
        start(join(bucket.address, "run"))
    assert "no success for" in str(error.value) and "\n" not in str(error.value)
    assert came_from(error.value, NoAnswer)  # for which the program ends with code 75


def test_checkpoints_are_read_by_their_address(one_kind, ended, bucket, on_disk):
    for address in (ended, f"{ended}/checkpoints", f"{ended}/checkpoints/6"):
        found = read_checkpoint(address)
        assert found.step == 6 and found.task == "pretrain" and found.config["seed"] == 0
    made = config()
    made.init.checkpoint = ended
    judged = BucketFolder(join(bucket.address, "judged"))
    run(made, judged.address, "the command", eval_only=True)
    scores = json.loads(judged.read("results.json"))["retrieval"]
    assert scores == on_disk["results"]["retrieval"]
    BucketSteps(BucketFolder(ended)).keep([3])  # as if the other had not been saved
    branched = join(bucket.address, "branched")
    start(branched, branch_from=ended)
    assert_same(outcome(branched), on_disk)


def test_a_step_that_was_not_finite_is_replayed_from_its_address(one_kind, workdir, one_device):
    made = diverging()
    with pytest.raises(RunError, match=r"the same command with --replay=\S+") as error:
        start(workdir, made)
    bundle = re.search(r"--replay=(\S+)", str(error.value))[1]
    assert bundle.startswith(f"{workdir}/replay-")
    with staged(bundle) as copy:
        copy.fetch()
        assert replay_step(diverging(), copy.here)


def test_tools_read_and_write_addresses(ended, kept, bucket, tmp_path, command_line):
    copied(kept[bucket.kind], join(bucket.address, "other"))
    described = command_line("tools.describe", ended)
    for name in ("model.safetensors", "file.pth", "orbax"):
        target = join(bucket.address, f"converted/{name}")
        assert "written" in command_line("tools.convert_checkpoint", ended, target)
        found = command_line("tools.describe", target)
        assert found.splitlines()[-1] == described.splitlines()[-1]  # the digest
    with pytest.raises(AssertionError, match="exists; choose another name, or pass --overwrite"):
        command_line("tools.convert_checkpoint", ended, target)
    command_line("tools.convert_checkpoint", ended, target, "--overwrite")
    assert read_checkpoint(target).step == 6
    others = BucketFolder(join(bucket.address, "converted"))
    others.write("orbax/notes.txt", b"mine")
    others.write("notes.txt", b"mine")
    with pytest.raises(AssertionError, match="with more in it than a converted checkpoint"):
        command_line("tools.convert_checkpoint", ended, target, "--overwrite")
    command_line("tools.convert_checkpoint", ended, others.address, "--release", "--overwrite")
    assert others.read("notes.txt") == others.read("orbax/notes.txt") == b"mine"
    with pytest.raises(AssertionError, match="is a whole bucket; name a folder in it"):
        command_line("tools.convert_checkpoint", ended, f"{bucket.kind}://bucket", "--release")
    page = tmp_path / "page.html"
    told = command_line("tools.compare_runs", ended, f"{bucket.address}/other", f"--out={page}")
    assert "other" in told and page.is_file()


def group(workdir, processes, *flags):
    command = [*COMMAND, f"--workdir={workdir}", *flags]
    return [[*command, *own] for own in group_flags(processes)]


def finish(workdir, processes, *flags):
    with started(group(workdir, processes, *flags), DEVICES // processes) as running:
        codes = [one.end() for one in running]
        assert not any(codes), running[0].text
        return running[0].text


def assert_close(found, wanted):
    for ours, theirs in zip(found["log"], wanted["log"], strict=True):
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_one_of_four_hosts_is_killed_and_replaced_and_their_number_changes(
    bucket, workdir, tmp_path
):
    """Two slices of two processes; then the same again, then two processes, then one.

    They read tar shards in the bucket.
    """
    for number in range(2):
        samples = map(sample, range(24 * number, 24 * number + 24))
        shard(tmp_path / "up" / f"{number}.tar", *samples)
    uploaded(tmp_path / "up", join(bucket.address, "data"))
    data = ("source=webdataset", f"root={bucket.address}", "train_files=data/{0..1}.tar")
    flags = [f"--config.data.{option}" for option in data]
    flags += ["--config.evaluation.every=", "--config.checkpoint.best="]
    finish(tmp_path / "disk", 4, *flags)
    wanted = outcome(tmp_path / "disk")
    slices = ("--config.mesh.slices=2", "--config.distributed.peer_seconds=10")
    with started(group(workdir, 4, *flags, *slices), 1) as running:
        running[0].wait_until_said("step 3/")
        running[3].process.kill()
        codes = [one.end() for one in running]
        assert codes[:3] == [75, 75, 75], running[0].text
    with started(group(workdir, 4, *flags, *slices), 1) as running:
        assert not any(one.end() for one in running), running[0].text
        assert "continuing from the checkpoint of step" in running[0].text
    assert_same(outcome(workdir), wanted)
    steps = BucketSteps(BucketFolder(workdir))
    for processes in (2, 1):
        steps.keep([2])  # as if later ones had not been saved
        assert "continuing from the checkpoint of step 2" in finish(workdir, processes, *flags)
        assert_close(outcome(workdir), wanted)


def test_nothing_is_left_of_a_start_that_was_refused(one_kind, workdir, one_device, cache):
    with pytest.raises(RunError):
        start(workdir, branch_from=str(cache / "nothing"))
    assert not list((cache / "albef_jax" / "workdirs").rglob("process-*"))
    shutil.rmtree(cache, ignore_errors=True)
    start(workdir)
