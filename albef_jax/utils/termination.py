"""Signals that end a process, as exceptions, so that what it holds is cleaned up."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

# Asked by systems and schedulers, and by a terminal that is closed (Windows has no such signal).
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ended_by_exception() -> Generator[None]:
    """Within, SIGTERM and SIGHUP raise `SystemExit`, as Ctrl-C raises `KeyboardInterrupt`.

    Further ones wait until the first has done its work. For the main thread.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for other in (*_SIGNALS, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
