"""Reports once if the host cannot keep up with the device, with a remedy."""

import math
import os

THRESHOLD = 0.1  # share of the time
LINES = 3  # of the log, one after the other: a start or an evaluation is not a trend


def cores_to_keep_up(wait: float, busy: float) -> int:
    """How many cores would feed the device without a wait.

    While the device waits, the host works at its limit. Without waiting, the device would consume
    the same in `1 - wait` of the time.

    Args:
        wait: share of the time that the device waits, 0 to 1.
        busy: cores that feed the pipeline now.
    """
    return math.ceil(busy / max(1 - wait, 0.01))


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class DataWait:
    """Looks at the `data_wait` of each log line.

    Args:
        threads: that read and transform, in all workers together.
        cores: of this host.
    """

    def __init__(self, threads: int, cores: int | None = None):
        self._threads = threads
        self._cores = available_cores() if cores is None else cores
        self._over: list[float] = []
        self._told = False

    def seen(self, wait: float) -> str | None:
        """The warning to print after a log line with this share; None for no warning."""
        self._over = [*self._over, wait][-LINES:] if wait > THRESHOLD else []
        if self._told or len(self._over) < LINES:
            return None
        self._told = True
        mean = sum(self._over) / LINES
        needed = cores_to_keep_up(mean, min(self._threads, self._cores))
        has = f"about {needed} cores would feed it; this host has {self._cores}"
        if self._threads < min(needed, self._cores):
            remedy = f"raise data.threads: let {min(needed, self._cores)} read, not {self._threads}"
        else:
            remedy = (
                "pack the images at a smaller size (python -m tools.pack_dataset --resize); if "
                "cores are idle, set data.workers"
            )
        return (
            f"WARNING: the device waits for data {mean:.0%} of the time; {has}: {remedy}, or see "
            "what a core does (python -m benchmarks.input_pipeline)"
        )
