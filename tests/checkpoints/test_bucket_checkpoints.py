"""Checkpoints in a bucket: the promises of those on a disk."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from albef_jax.checkpoints.bucket_steps import BucketSteps
from albef_jax.checkpoints.fetched import local_checkpoint
from albef_jax.checkpoints.from_one_process import BucketCheckpoints
from albef_jax.checkpoints.load import find_step
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import CheckpointError, SaveError
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError
from tests.checkpoints.test_manager import abstract, items
from tests.helpers.faulty_proxy import Fault

SEAL = "files.json"


@pytest.fixture
def folder(bucket):
    return BucketFolder(bucket.address, patience=4)


@pytest.fixture
def opened(folder, tmp_path):
    """Opens the checkpoints in a directory of its own each time, as another machine would."""
    numbers = iter(range(9))

    def open_again(keep=2, keep_every=0, before_seal=lambda: None, pinned=None):
        steps = BucketSteps(folder, before_seal)
        directory = tmp_path / str(next(numbers))
        checkpoints = BucketCheckpoints(directory, keep, keep_every, steps)
        checkpoints.pinned = pinned
        return checkpoints

    return open_again


def restored(checkpoints, move_aside=True):
    """The newest step, and the number that its arrays hold."""
    wanted = abstract(items(0), NamedSharding(make_mesh(), PartitionSpec()))
    step, found = checkpoints.restore_newest(wanted, move_aside=move_aside)
    kernel = np.asarray(found["params"]["kernel"])
    np.testing.assert_array_equal(kernel, np.full((8, 4), kernel[0, 0]))
    return step, float(kernel[0, 0])


def test_another_machine_goes_on_bit_for_bit(opened):
    with opened() as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, items(3))
        checkpoints.save(5, items(5))
    with opened() as again:
        assert again.latest() == 5
        wanted = abstract(items(0), NamedSharding(make_mesh(), PartitionSpec()))
        step, found = again.restore_newest(wanted, move_aside=True)
    assert step == 5
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(items(5)), strict=True):
        if jax.dtypes.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = map(jax.random.key_data, (ours, theirs))
        np.testing.assert_array_equal(ours, theirs)


def test_the_seal_is_written_last_and_what_belongs_to_the_step_before_it(opened, folder):
    before = []
    with opened(before_seal=lambda: before.extend(folder.entries())) as checkpoints:
        checkpoints.save(1, items(1))
    assert set(folder.entries()) - set(before) == {f"checkpoints/1/{SEAL}"}
    assert len(before) > 10


def test_old_steps_go_as_on_a_disk(opened, folder):
    steps = BucketSteps(folder)
    with opened(keep=1, keep_every=4, pinned=2) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, items(step))
    assert steps.sealed() == [2, 4, 6]
    with opened(keep=1, keep_every=4) as again:  # knows none of them by itself
        again.save(7, items(7))
    assert steps.sealed() == [4, 7]
    assert {name.split("/")[1] for name in folder.entries("checkpoints")} == {"4", "7"}


def test_a_damaged_step_is_reported_and_the_one_before_is_used(opened, folder, capsys):
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.save(2, items(2))
    name = next(one for one in folder.entries("checkpoints/2/params") if "/d/" in one)
    folder.write(name, b"rubbish")
    with opened() as again:
        assert restored(again) == (1, 1.0)
        again.save(2, items(4))  # the run goes on, and comes there again
    told = capsys.readouterr().err
    assert f"checkpoint of step 2 in {folder.address}/checkpoints cannot be used" in told
    assert f"kept as {folder.address}/checkpoints/broken-2." in told
    assert folder.read(name.replace("/2/", "/broken-2/")) == b"rubbish"
    with opened() as third:
        assert restored(third) == (2, 4.0)


def test_a_missing_object_is_damage(opened, folder, capsys):
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.save(2, items(2))
    name = next(one for one in folder.entries("checkpoints/2/params") if "/d/" in one)
    folder.delete([name])
    with opened() as again:
        assert restored(again, move_aside=False) == (1, 1.0)
    assert "is missing" in capsys.readouterr().err
    assert BucketSteps(folder).sealed() == [1, 2]


def test_an_upload_that_was_broken_off_does_not_count(opened, folder, capsys):
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.save(2, items(2))
    folder.delete([f"checkpoints/2/{SEAL}"])
    steps = BucketSteps(folder)
    assert steps.sealed() == [1]
    steps.remove_unsealed()
    assert "checkpoints/2 was not saved to its end" in capsys.readouterr().err
    assert not folder.entries("checkpoints/2")
    with opened() as again:
        assert restored(again) == (1, 1.0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=6),
        Fault(status=429, times=3),
        Fault(match="^P", drop_after=20, times=4),
        Fault(match="^P", status=503, probability=0.2, seed=1),
    ],
    ids=["503", "429", "drops", "some 503"],
)
def test_a_passing_failure_in_the_middle_of_a_save_is_survived(opened, folder, bucket, fault):
    folder.patience = 60
    with opened() as checkpoints, bucket.proxy.faulty(fault) as (counted,):
        checkpoints.save(1, items(1))
        checkpoints.wait()
        assert counted.hits
    with opened() as again:
        assert restored(again) == (1, 1.0)


def test_a_lasting_failure_is_one_line_and_loses_nothing(opened, folder, bucket):
    folder.patience = 1
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.wait()
        refused = Fault(match="^(PUT|POST)", status=403)
        with bucket.proxy.faulty(refused), pytest.raises(SaveError) as error:
            checkpoints.save(2, items(2))
            checkpoints.wait()
        told = str(error.value)
        assert "\n" not in told and "access denied" in told and "steps 1 are intact" in told
        assert "Give this account the right to list, read, write and delete objects there" in told
    with opened() as again:
        assert restored(again) == (1, 1.0)


def test_a_run_that_lost_its_lock_seals_nothing(opened, folder):
    def lost():
        raise StorageError("taken over by another")

    checkpoints = opened(before_seal=lost)
    with pytest.raises(SaveError, match="taken over by another"), checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.wait()
    assert BucketSteps(folder).sealed() == []


def test_a_reader_gets_the_newest_whole_step(opened, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=r"no checkpoint there; looked for model\.safeten"):
        local_checkpoint(folder.address)
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
        checkpoints.save(2, items(2))
    assert find_step(local_checkpoint(folder.address)).name == "2"
    assert find_step(local_checkpoint(f"{folder.address}/checkpoints/1")).name == "1"
    name = next(one for one in folder.entries("checkpoints/2/params") if "/d/" in one)
    folder.write(name, b"rubbish")
    folder.write(f"checkpoints/2/{SEAL}", folder.read(f"checkpoints/2/{SEAL}") + b" ")
    with pytest.warns(UserWarning, match="2 is damaged"):
        assert find_step(local_checkpoint(f"{folder.address}/checkpoints")).name == "1"


def test_an_unchanged_checkpoint_is_read_once(opened, folder, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with opened() as checkpoints:
        checkpoints.save(1, items(1))
    first = local_checkpoint(folder.address)
    bucket.proxy.forget()
    assert local_checkpoint(folder.address) == first
    assert not any("params" in request for request in bucket.proxy.requests)
