"""The lock of a workdir in a bucket: one owner, seen to live, and replaced when it is dead."""

import json
import subprocess
import sys
import threading
import time

import pytest

from albef_jax.errors import ConfigError
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError
from albef_jax.workdir.lease import FOLDER, Lease
from tests.helpers.processes import ROOT

SECONDS = 1.2
HOLD = """
import sys, time
from albef_jax.storage.bucket import BucketFolder
from albef_jax.workdir.lease import Lease
with Lease(BucketFolder(sys.argv[1]), float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(bucket):
    return BucketFolder(bucket.address, patience=5)


def owned_by(folder: BucketFolder, **about) -> None:
    """The lock of an owner that is not there."""
    told = {"owner": "other", "pid": 7, "host": "elsewhere", "machine": None, "beat": 3} | about
    folder.write(f"{FOLDER}/000000004.json", json.dumps(told).encode())


def test_the_second_of_two_living_runs_is_refused(folder):
    began = time.monotonic()
    with Lease(folder, 60), pytest.raises(ConfigError, match=r"is in use by process \d+ on"):
        Lease(folder, 60).__enter__()
    assert time.monotonic() - began < 5


def test_after_the_end_the_next_does_not_wait(folder):
    with Lease(folder, 60):
        pass
    began = time.monotonic()
    with Lease(folder, 60) as second:
        second.check()
    assert time.monotonic() - began < 5
    assert folder.children(FOLDER) == ["000000002.json"]


def test_a_silent_owner_elsewhere_is_replaced_after_the_stated_time(folder, capsys):
    owned_by(folder)
    began = time.monotonic()
    with Lease(folder, SECONDS):
        assert SECONDS <= time.monotonic() - began < 10 * SECONDS
        assert folder.children(FOLDER) == ["000000005.json"]
    assert "was in use by process 7 on elsewhere; waiting" in capsys.readouterr().out


def test_the_owner_says_how_long_it_may_be_silent(folder):
    owned_by(folder, lock_seconds=2 * SECONDS)
    began = time.monotonic()
    with Lease(folder, SECONDS / 10):
        assert time.monotonic() - began >= 2 * SECONDS


def test_a_sign_of_life_is_seen(folder):
    owned_by(folder)
    later = threading.Timer(SECONDS / 2, owned_by, (folder,), {"beat": 4})
    later.start()
    with pytest.raises(ConfigError, match="in use by process 7 on elsewhere"):
        Lease(folder, SECONDS).__enter__()
    later.join()


def test_a_killed_process_of_this_machine_is_replaced_at_once(folder):
    command = [sys.executable, "-c", HOLD, folder.address, "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"in use by process {holder.pid} on"):
            Lease(folder, SECONDS).__enter__()
        holder.kill()
    began = time.monotonic()
    with Lease(folder, 60):
        assert time.monotonic() - began < 5


def test_of_many_that_take_over_at_once_one_succeeds(folder):
    owned_by(folder, ended=True)
    gate, got, refused = threading.Barrier(6), [], []

    def take():
        lease = Lease(folder, SECONDS)
        gate.wait()
        try:
            lease.__enter__()
            got.append(lease)
        except ConfigError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 5
    got[0].__exit__()


def test_who_was_taken_over_writes_no_more(folder):
    with Lease(folder, SECONDS) as lease:
        lease.check()
        folder.write(f"{FOLDER}/000000002.json", b'{"pid": 9, "host": "new"}')
        with pytest.raises(StorageError, match="was taken over by process 9 on new"):
            lease.check()
    assert json.loads(folder.read(f"{FOLDER}/000000002.json")) == {"pid": 9, "host": "new"}
