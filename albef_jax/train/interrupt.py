"""Ctrl-C and SIGTERM as requests, granted between two steps, when the state is whole."""

import signal
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state.

    Args:
        signum: of the signal; the process should end with code 128 + `signum`.
    """

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


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
