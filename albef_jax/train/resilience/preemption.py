"""Ctrl-C and SIGTERM as requests, granted between two steps, when the state is whole."""

import signal
from types import FrameType

import jax
from jax.sharding import Mesh

from albef_jax.distributed.sync import AllReduceMax


class StopRequests:
    """Listens for SIGINT and SIGTERM while used as a context manager.

    A second signal acts at once, as it would without us.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def __enter__(self) -> "StopRequests":
        self._before = {
            signum: signal.signal(signum, self._note) for signum in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, signum: int, _: FrameType | None) -> None:
        self.signum = signum
        print(f"\n{signal.Signals(signum).name}: finishing this step, then saving ...", flush=True)
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


class SyncedSignal:
    """The largest number that any process gives at a step, so that all stop at the same one.

    It is read at the next step: nobody waits for it. Alone, a number comes back at once.
    """

    def __init__(self, mesh: Mesh):
        self._largest = AllReduceMax(mesh)
        self._pending: list[int | jax.Array] = []

    def __call__(self, number: int, *, last: bool = False) -> int:
        """Give a number, and get what was found at the step before.

        Args:
            last: wait for what is found now, too.
        """
        if jax.process_count() == 1:
            return number
        self._pending.append(self._largest(number))
        ripe = len(self._pending) if last else len(self._pending) - 1
        found, self._pending = self._pending[:ripe], self._pending[ripe:]
        return max(map(int, found), default=0)
