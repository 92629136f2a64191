"""Worker processes: the same batches, and no trouble with processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from albef_jax.data import workers
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.errors import BadSample
from tests.helpers.worker_batches import batches

PATIENCE = 300  # seconds: a busy machine starts slowly


@dataclass(frozen=True)
class Rotten(ScenesSource):
    """Scenes, some of which cannot be read; none before the file `disk` is there."""

    bad: tuple[int, ...] = ()
    disk: str = ""

    def __getitem__(self, index):
        if index in self.bad:
            raise BadSample(f"{self.split}/{index}", "is bad")
        if self.disk:
            wait_for_the_disk(self.disk)
        return super().__getitem__(index)


def wait_for_the_disk(path):
    while not Path(path).exists():
        time.sleep(0.05)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_workers_group_by_length_alike():
    source = ScenesSource("train", 20, 32, captions_per_image=2)
    grouped = {"widths": (6, 7, 8), "start_step": 2, "num_steps": 5}
    alone = list(batches(source, 0, **grouped))
    assert_same(list(batches(source, 2, **grouped)), alone)
    published = list(batches(source, 0, start_step=2, num_steps=5))
    assert any((a["image"] != b["image"]).any() for a, b in zip(alone, published, strict=True))


def test_the_number_of_workers_changes_nothing(tmp_path):
    """From any step on, on any host, over a mixture with bad records; and the same are reported."""
    parts = {
        "large": Rotten("train", 20, 32, bad=(2, 3, 11)),
        "small": Rotten("val", 7, 32, bad=(1,)),
    }
    source = MixedPairs(parts, [1.0, 1.0])
    registers = [BadSamples(tmp_path / f"{name}.jsonl", 1.0, 27) for name in "ab"]
    whole = list(batches(source, 0, registers[0], num_steps=12))
    options = {"process_index": 1, "process_count": 2}
    host = list(batches(source, 0, num_steps=7, start_step=5, **options))
    assert_same(batches(source, 2, registers[1], num_steps=12), whole)
    assert_same(batches(source, 1, num_steps=7, start_step=5, **options), host)
    assert registers[0].count == registers[1].count == 4
    # in the same order, too
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_signals_are_left_to_the_process_that_trains_and_a_kill_is_told():
    found = batches(ScenesSource("train", 100_000, 32), 1)
    next(found)
    (file,) = workers._live[0].iterdir()
    for asked in (signal.SIGINT, signal.SIGTERM):
        os.kill(workers._pid(file), asked)
    for _ in range(20):
        next(found)
    os.kill(workers._pid(file), signal.SIGKILL)
    with pytest.raises(workers.WorkerLost, match=r"exit code -9 \(data\.workers=1\)"):
        for _ in range(1000):
            next(found)
    assert not workers._live and not file.exists()


def test_a_worker_that_hangs_says_where(tmp_path):
    assert workers.stacks() == ""
    found = batches(Rotten("train", 8, 32, disk=str(tmp_path / "disk")), 1)
    waiting = threading.Thread(target=next, args=(found,))
    waiting.start()
    until = time.monotonic() + PATIENCE
    while (told := workers.stacks()).count("in wait_for_the_disk") < 2:  # threads
        assert time.monotonic() < until, told
    (tmp_path / "disk").touch()
    waiting.join()
    found.close()
    assert told.startswith("data worker 0, process ")


PARENT = """
import time
from albef_jax.data import workers
from albef_jax.data.scenes.source import ScenesSource
from tests.helpers.worker_batches import batches
if __name__ == "__main__":
    found = batches(ScenesSource("train", 100, 32), 1)
    next(found)
    print(workers._live[0], *map(workers._pid, workers._live[0].iterdir()), flush=True)
    time.sleep(1000)
"""


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment)
    directory, pid = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + PATIENCE
    while Path(f"/proc/{int(pid)}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not Path(directory.decode()).exists()
