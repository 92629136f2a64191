"""Says what a run is waiting for when nothing moves."""

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from albef_jax.data import workers

EXIT_CODE = 75  # "temporary failure, try again" of sysexits.h
# The first step is compiled, which may take many times longer than a step.
COMPILING = 6


class Watchdog:
    """A thread that reports when the loop stays with one thing for too long.

    Use as a context manager. It reports again when the time has doubled, and so on.

    Args:
        file: gets the stacks of all threads, as stderr does.
        seconds: of patience; 0 for no reports.
        leave: end the process with `EXIT_CODE` after the first report. A process that waits for a
            lost peer cannot be woken; ended, a scheduler starts the job again.
    """

    def __init__(self, file: Path, seconds: float, leave: bool = False):
        self._file, self._seconds, self._leave = file, seconds, leave
        self._closed = threading.Event()
        self._now: tuple[str, float, float] | None = None  # what, since when, patience
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._closed.set()
        if self._seconds:
            self._thread.join()

    def waiting_for(self, what: str, *, compiling: bool = False) -> None:
        """Called by the loop whenever it turns to something."""
        patience = self._seconds * (COMPILING if compiling else 1)
        self._now = (what, time.monotonic(), patience)

    def pause(self) -> None:
        """Nothing is reported until the loop turns to something else."""
        self._now = None

    def _run(self) -> None:
        reported, patience, left = None, self._seconds, self._seconds
        # Progress does not wake the thread; it only postpones the next check.
        while not self._closed.wait(min(left, self._seconds)):
            now = self._now
            if now is None:
                continue
            if now is not reported:
                patience = now[2]
            left = now[1] + patience - time.monotonic()
            if left <= 0:
                self._report(now)
                reported, patience = now, 2 * patience
                left = patience

    def _report(self, now: tuple[str, float, float]) -> None:
        what, since, _ = now
        text = (
            f"WARNING: no progress for {time.monotonic() - since:.0f} s; waiting for {what}. "
            f"The stacks of all threads, also in {self._file}:\n{stacks()}\n{workers.stacks()}"
        )
        with self._file.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        print(text, file=sys.stderr, flush=True)
        if self._leave:
            print(
                f"guards.stall_exit: leaving with code {EXIT_CODE}; the same command continues "
                "from the newest checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_CODE)


def stacks() -> str:
    """The stack of each thread, the main thread last."""
    frames = sys._current_frames()
    threads = sorted(threading.enumerate(), key=lambda thread: thread is threading.main_thread())
    parts = [
        f"thread {thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in threads
        if thread.ident in frames and thread is not threading.current_thread()
    ]
    return "\n".join(parts)
