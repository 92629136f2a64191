"""Kill a training run at random moments, and see that what comes out is the unbroken run.

    python -m tests.helpers.kill_runs --kills 50
    python -m tests.helpers.kill_runs --kills 10 --bucket=s3

Each run is started by command line and killed with SIGKILL again and again: while it starts,
between steps, while it saves, while it evaluates. The same command is repeated until it ends. Then
the state, the log and the results are compared with those of a run that nobody disturbed, bit for
bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from albef_jax.checkpoints.bucket_steps import BucketSteps
from albef_jax.checkpoints.integrity import damage
from albef_jax.checkpoints.load import _read_item
from albef_jax.observability.metrics import read_lines
from albef_jax.storage.addresses import in_bucket, join
from albef_jax.storage.bucket import BucketFolder
from albef_jax.workdir.mirror import Mirror
from albef_jax.workdir.place import staging
from albef_jax.workdir.saved_steps import newest_step
from tests.helpers.buckets import BUCKET, store
from tests.helpers.forks import start, start_anew
from tests.helpers.processes import quick_start

ROOT = Path(__file__).parents[2]
MOMENTS = ("start", "step", "saving", "evaluation")
# What depends on the clock.
TIMES = ("pairs_per_s", "data_wait")
PATIENCE = 600


@dataclass
class Child:
    """One start of the run, and what it has printed so far.

    Attributes:
        workdir: a path, or an address in a bucket.
        forked: from a process that has imported all; else it is started as users do it.
    """

    workdir: str | Path
    preset: str = ""
    forked: bool = True
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        arguments = ["-m", "albef_jax.main"]
        arguments += ["--config", f"{ROOT / 'tests' / 'helpers' / 'tiny_run.py'}:{self.preset}"]
        arguments += ["--workdir", str(self.workdir)]
        self.process = (start if self.forked else start_anew)(arguments, os.environ | quick_start())
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines.extend(iter(self.process.stdout.readline, ""))

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in list(self.lines))

    def said(self, start: str) -> bool:
        return self.count(start) > 0

    def wait_until(self, happened) -> bool:
        """Whether it happened before the process ended."""
        began = time.monotonic()
        while self.process.poll() is None:
            if happened():
                return True
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError("".join(self.lines))
            time.sleep(0.002)
        return False

    def kill(self, signum: int) -> bool:
        """Whether there was still something to kill."""
        self.process.send_signal(signum)
        code = self.end()
        if code not in (0, -signum, 128 + signum):
            raise AssertionError(f"exit code {code} after a kill:\n{''.join(self.lines)}")
        return code != 0

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code


def disturb(child: Child, moment: str, rng: random.Random) -> bool:
    """Kill at a random instant of a phase; False if the run was over before."""
    if moment == "start":
        there = rng.randrange(7)  # it prints so many lines until it trains
        reached, span = child.wait_until(lambda: len(child.lines) >= there), 1.0
    elif moment == "step":
        there = rng.randrange(1, 4)
        reached, span = child.wait_until(lambda: child.count("step ") >= there), 0.3
    elif moment == "saving":
        directory = local(child.workdir) / "checkpoints"
        there = len(child.lines) + rng.randrange(8)  # not always the first one
        reached = child.wait_until(
            lambda: len(child.lines) >= there and any(directory.glob("*-tmp*"))
        )
        span = 1.0 if in_bucket(str(child.workdir)) else 0.05  # what is written is uploaded
    else:
        reached, span = child.wait_until(lambda: child.said("evaluating")), 1.0
    if reached:
        time.sleep(rng.uniform(0, span))
        return child.kill(signal.SIGKILL)
    if child.end():
        raise AssertionError("".join(child.lines))
    return False


def draw(count: int, rng: random.Random) -> list[str]:
    """Moments of a run: once it has evaluated, no steps and saves are left to it."""
    return sorted(rng.choices(MOMENTS, k=count), key=lambda moment: moment == "evaluation")


def local(workdir: str | Path) -> Path:
    """Where the run writes first."""
    address = str(workdir)
    return staging(address) / "process-0" if in_bucket(address) else Path(workdir)


def kept(workdir: str | Path) -> Path:
    """A directory with what the run has kept; of one in a bucket, what lies there."""
    address = str(workdir)
    if not in_bucket(address):
        return Path(workdir)
    folder, copy = BucketFolder(address), local(workdir).with_name("kept")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    Mirror(copy, folder, seconds=60).fetch()
    BucketSteps(folder).fetch_newest(copy / "checkpoints")
    return copy


def remove(workdir: str | Path) -> None:
    address = str(workdir)
    if in_bucket(address):
        folder = BucketFolder(address)
        folder.delete(folder.entries())
    else:
        shutil.rmtree(workdir)


def outcome(workdir: str | Path) -> dict:
    """All that a run leaves, but for clock times."""
    workdir = kept(workdir)
    newest = newest_step(workdir)
    step = workdir / "checkpoints" / str(newest)
    assert damage(step) is None
    trees = {
        "step": newest,
        "params": _read_item(step / "params"),
        "teacher": _read_item(step / "teacher"),
        "train": _read_item(step / "train", ("opt_state", "queue", "step")),
    }
    log = [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in read_lines(workdir / "metrics.jsonl")
    ]
    return {**trees, "log": log, "results": json.loads((workdir / "results.json").read_text())}


def assert_same(ours: dict, theirs: dict) -> None:
    ours_leaves, theirs_leaves = map(jax.tree.leaves_with_path, (ours, theirs))
    assert len(ours_leaves) == len(theirs_leaves)
    for (path, a), (_, b) in zip(ours_leaves, theirs_leaves, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def kill_runs(
    kills: int,
    seed: int,
    directory: Path,
    per_run: int = 10,
    bucket: str | None = None,
    preset: str = "",
) -> dict[str, int]:
    """Runs until `kills` kills are done, each run compared with the unbroken one.

    The unbroken one is started as users do it, and compiles for all where jax keeps programs.

    Args:
        bucket: an address below which the workdirs of the killed runs are.
        preset: of `tiny_run.py`.

    Returns:
        The number of kills by moment.

    Raises:
        AssertionError: a run failed, or came out different.
    """
    rng = random.Random(seed)
    run_whole(Child(directory / "unbroken", preset, forked=False))
    wanted = outcome(directory / "unbroken")
    done = dict.fromkeys(MOMENTS, 0)
    while (total := sum(done.values())) < kills:
        name = f"killed-after-{total}"
        workdir = join(bucket, name) if bucket else directory / name
        killed = True
        for moment in draw(min(per_run, kills - total), rng):
            killed = disturb(Child(workdir, preset), moment, rng)
            if not killed:
                break
            done[moment] += 1
            print(moment, end=" ", flush=True)
        if killed:
            run_whole(Child(workdir, preset))
        assert_same(outcome(workdir), wanted)
        remove(workdir)
        print(f"{sum(done.values())} of {kills} kills, all bits equal: {done}", flush=True)
    return done


def run_whole(child: Child) -> None:
    if child.end():
        raise AssertionError("".join(child.lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bucket", choices=("s3", "gs"), help="on a server on loopback")
    arguments = parser.parse_args()
    given = arguments.kills, arguments.seed
    with tempfile.TemporaryDirectory() as directory:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{directory}/compiled"
        if arguments.bucket is None:
            kill_runs(*given, Path(directory))
            return
        os.environ["XDG_CACHE_HOME"] = directory
        with store(arguments.bucket) as server:
            os.environ |= server.environment
            kill_runs(*given, Path(directory), bucket=f"{arguments.bucket}://{BUCKET}")


if __name__ == "__main__":
    main()
