"""Batches of texts of similar lengths: samples change places within a window of the order.

A sample keeps its record, its caption and its augmentation, and comes once an epoch as before; only
its batch is another. A window is some consecutive batches of one epoch: its samples are put in the
order of their buckets, cut into batches, and these come in a random order. All follows from the
seed and the lengths, so any process finds the same at any step. The lengths of a window are found
one window ahead, in a thread of their own. What replaces a bad sample has any length.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW = 64  # batches; of these, at most one for each further bucket holds texts of two buckets
_KEPT = 4  # windows behind the newest: threads do not read in step
_STREAM = 2**32 - 1  # of the random numbers of a window, beside those of samples


@dataclass(frozen=True)
class Grouping:
    """Which texts belong together.

    Attributes:
        length: `(index, rng)` to the tokens of the text that a record's example will have.
        widths: of the buckets, ascending; a text belongs to the first that holds it.
        window: in batches.
    """

    length: Callable[[int, np.random.Generator], int]
    widths: tuple[int, ...]
    window: int = WINDOW


class GroupedPlaces:
    """Which position of the order the sample at each position comes from.

    Args:
        bucket: of the sample at a position.
        batch_size: B, over all hosts.
        steps: batches in an epoch.
        window: in batches.
        seed: of the order of batches.
    """

    def __init__(
        self, bucket: Callable[[int], int], batch_size: int, steps: int, window: int, seed: int
    ):
        self._bucket, self._batch_size, self._steps = bucket, batch_size, steps
        self._size, self._seed = window, seed
        self._begin()

    def _begin(self) -> None:
        self._found: dict[int, Future[np.ndarray]] = {}  # by first position
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "lengths of texts")

    def __getstate__(self) -> dict[str, Any]:
        """Without what a worker has of its own."""
        own = ("_found", "_lock", "_pool")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __getitem__(self, position: int) -> int:
        first, end = self._bounds(position)
        with self._lock:
            places = self._asked(first, end)
            self._asked(*self._bounds(end))
            oldest = first - _KEPT * self._size * self._batch_size
            self._found = {start: one for start, one in self._found.items() if start >= oldest}
        return int(places.result()[position - first])

    def _bounds(self, position: int) -> tuple[int, int]:
        """The first position of a window, and the one after its last."""
        epoch, step = divmod(position // self._batch_size, self._steps)
        first = step // self._size * self._size
        end = min(first + self._size, self._steps)
        begin = epoch * self._steps
        return (begin + first) * self._batch_size, (begin + end) * self._batch_size

    def _asked(self, first: int, end: int) -> Future[np.ndarray]:
        if first not in self._found:
            self._found[first] = self._pool.submit(self._arranged, first, end)
        return self._found[first]

    def _arranged(self, first: int, end: int) -> np.ndarray:
        buckets = np.array([self._bucket(position) for position in range(first, end)])
        batches = np.argsort(buckets, kind="stable").reshape(-1, self._batch_size)
        rng = np.random.default_rng([self._seed, first, _STREAM])
        return first + rng.permutation(batches).reshape(-1)
