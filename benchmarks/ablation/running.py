"""Runs cells: a process each, so many at a time, each with cores of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from benchmarks.ablation.plan import Cell, ready

ROOT = Path(__file__).parents[2]
_WAIT = 0.5  # seconds between looks at the processes


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen
    log: IO[str]
    began: float
    place: int

    @property
    def ended_well(self) -> bool:
        return self.process.poll() == 0 and self.cell.finished


def run_all(
    cells: list[Cell],
    jobs: int,
    finished: Callable[[Cell], None],
    say: Callable[[str], None] = print,
    main: str = "albef_jax.main",
) -> list[Cell]:
    """Run cells, parents first.

    A cell that was interrupted continues from its checkpoint. What is stopped (Ctrl-C) stops the
    runs, which save.

    Args:
        cells: parents before children.
        jobs: how many at a time; each gets an equal share of the cores.
        finished: takes each cell whose run has ended well.
        say: takes a line on what happened.
        main: the module to run.

    Returns:
        The cells that failed, and those that could not start without them.
    """
    waiting = list(cells)
    running: list[_Running] = []
    failed: list[Cell] = []
    began = time.monotonic()
    try:
        while waiting or running:
            for cell in list(ready(waiting)):
                if len(running) == jobs:
                    break
                waiting.remove(cell)
                running.append(_start(cell, _free(running, jobs), jobs, main))
            if not running:  # the rest waits for what failed
                return failed + waiting
            time.sleep(_WAIT)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                one.log.close()
                if one.ended_well:
                    finished(one.cell)
                else:
                    failed.append(one.cell)
                left = len(waiting) + len(running)
                seconds = (time.monotonic() - began) / (len(cells) - left) * left
                say(f"{_told(one)}; {left} left, about {_clock(seconds)}")
    finally:
        for one in running:
            one.process.terminate()  # the run saves
        for one in running:
            one.process.wait()
            one.log.close()
    return failed


def _free(running: list[_Running], jobs: int) -> int:
    return min(set(range(jobs)) - {one.place for one in running})


def _start(cell: Cell, place: int, jobs: int, main: str) -> _Running:
    """Start a cell on the cores of its place."""
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    log = _log(cell).open("a", encoding="utf-8")
    command = [sys.executable, "-m", main, *cell.command]
    # In a session of its own: Ctrl-C would reach it before `terminate` does, and the second signal
    # ends a run without saving.
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    if jobs > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        # Before the run makes its threads, which inherit this; a process may be over already.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, cores[place::jobs] or cores)
    return _Running(cell, process, log, time.monotonic(), place)


def _log(cell: Cell) -> Path:
    """Where all goes that the run prints."""
    return cell.folder.with_name(f"{cell.folder.name}.log")


def _told(one: _Running) -> str:
    took = _clock(time.monotonic() - one.began)
    if one.ended_well:
        return f"{one.cell}, {took}"
    return f"FAILED {one.cell}, {took}: see {_log(one.cell)}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
