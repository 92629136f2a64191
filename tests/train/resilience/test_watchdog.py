"""When nothing moves, the run says what it waits for."""

import subprocess
import sys
import threading

import pytest

from albef_jax.train.resilience.watchdog import COMPILING, EXIT_CODE, Watchdog

BLOCKED = """
import sys, time
from pathlib import Path
from albef_jax.train.resilience.watchdog import Watchdog
def read_from_a_dead_disk():
    while True:
        time.sleep(1)
with Watchdog(Path(sys.argv[1]), 0.1, leave=True) as watchdog:
    watchdog.waiting_for("the data of step 7")
    read_from_a_dead_disk()
"""


class Patient(Watchdog):
    """Tells when it has reported."""

    def __init__(self, *args):
        super().__init__(*args)
        self.reports = threading.Semaphore(0)

    def _report(self, now):
        super()._report(now)
        self.reports.release()


def test_a_stall_is_named_with_stacks_again_and_again(tmp_path, capsys):
    file, release = tmp_path / "stalls.txt", threading.Event()
    reader = threading.Thread(target=release.wait, name="reader-3")
    reader.start()
    with Patient(file, 0.05) as watchdog:
        watchdog.waiting_for("the data of step 7")
        assert watchdog.reports.acquire(timeout=60)
        assert watchdog.reports.acquire(timeout=60)
        watchdog.waiting_for("the checkpoint of step 8")
        assert watchdog.reports.acquire(timeout=60)
    release.set()
    reader.join()
    told = capsys.readouterr().err
    assert told.split() == file.read_text().split()
    assert told.count("waiting for the data of step 7") >= 2
    assert "waiting for the checkpoint of step 8" in told
    assert "thread reader-3" in told
    assert "test_a_stall_is_named" in told  # where the main thread is


def test_patience_doubles(tmp_path, monkeypatch):
    """With a clock of its own: reports after 1, 2 and 4 times the patience, from the same start."""
    watchdog, clock, reports = Watchdog(tmp_path / "stalls.txt", 10), [0.0], []
    monkeypatch.setattr("albef_jax.train.resilience.watchdog.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(watchdog, "_report", lambda now: reports.append(clock[0]))

    class Closed:
        def wait(self, seconds):
            clock[0] += seconds
            return clock[0] > 100

    watchdog._closed = Closed()
    watchdog.waiting_for("a step")
    watchdog._run()
    assert reports == [10, 20, 40, 80]
    reports.clear()
    clock[0] = 0.0
    watchdog.waiting_for("the first step", compiling=True)
    watchdog._run()
    assert reports == [10 * COMPILING]


def test_movement_is_no_stall(tmp_path, monkeypatch, capsys):
    watchdog, clock = Watchdog(tmp_path / "stalls.txt", 10), [0.0]
    monkeypatch.setattr("albef_jax.train.resilience.watchdog.time.monotonic", lambda: clock[0])

    class Closed:
        def wait(self, seconds):
            clock[0] += seconds
            watchdog.waiting_for(f"the data at {clock[0]}")
            return clock[0] > 100

    watchdog._closed = Closed()
    watchdog._run()
    assert not capsys.readouterr().err and not (tmp_path / "stalls.txt").exists()


@pytest.mark.parametrize("seconds", [0, 600])
def test_ends_with_the_loop(tmp_path, seconds):
    with Watchdog(tmp_path / "stalls.txt", seconds) as watchdog:
        watchdog.waiting_for("a step")
    assert not watchdog._thread.is_alive()
    assert not (tmp_path / "stalls.txt").exists()


def test_can_end_the_process_with_its_own_code(tmp_path):
    file = tmp_path / "stalls.txt"
    command = [sys.executable, "-c", BLOCKED, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == EXIT_CODE
    assert "waiting for the data of step 7" in ended.stderr
    assert "read_from_a_dead_disk" in file.read_text()
    assert f"leaving with code {EXIT_CODE}" in ended.stderr
