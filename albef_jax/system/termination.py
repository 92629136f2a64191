"""Turns signals that end a process into exceptions, so that resources are cleaned up."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

# From systems and schedulers, and from a closed terminal (Windows has no such signal).
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ended_by_exception() -> Generator[None]:
    """Within, SIGTERM and SIGHUP raise `SystemExit`, as Ctrl-C raises `KeyboardInterrupt`.

    Further signals are held back until the first is handled. Only in the main thread.
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
