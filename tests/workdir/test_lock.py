"""Two processes never write to one workdir."""

import os
import signal
import subprocess
import sys

import pytest

from albef_jax.errors import ConfigError
from albef_jax.workdir import lock
from albef_jax.workdir.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from albef_jax.workdir.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_refused_and_told_who_the_first_is(holder, tmp_path):
    host = os.uname().nodename
    with (
        pytest.raises(ConfigError, match=f"in use by process {holder.pid} on {host}.*eval_only"),
        locked(tmp_path),
    ):
        pytest.fail("two hold the lock")


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / lock.NAME).read_text()


def test_free_again_at_the_end(tmp_path):
    workdir = tmp_path / "new" / "run"
    for _ in range(2):
        with locked(workdir), pytest.raises(ConfigError, match="in use"), locked(workdir):
            pytest.fail("two hold the lock")


def test_other_processes_of_a_job_need_no_lock(holder, tmp_path):
    with locked(tmp_path, first=False):
        assert str(holder.pid) in (tmp_path / lock.NAME).read_text()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path):
        assert "cannot be locked" in capsys.readouterr().err
