"""Removes what was not used for the longest time, and the locks that keep files from it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"  # ending of the files of `alone`
_ALLOCATED = 512  # bytes of a unit of st_blocks


class _Kept(NamedTuple):
    used: float
    size: int
    path: Path


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes, by a file that is made for it; wait until it is free."""
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            _take(number, fcntl.LOCK_EX, wait=True)
        yield
    finally:
        os.close(number)


def keep(number: int) -> bool:
    """Keep an open file from being removed, until it is closed; False if it is just removed."""
    return fcntl is None or _take(number, fcntl.LOCK_SH, wait=False)


def remove_oldest(folder: Path, parts: Sequence[str], most: int, target: int) -> int:
    """Bring a folder down to `target` bytes if it has more than `most`.

    One process does so at a time; others wait, or they would write on meanwhile.

    Args:
        parts: the subfolders that count, and whose files may be removed.

    Returns:
        The bytes that are left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / f".sweep{LOCK}"):
        files = sorted(one for part in parts for one in _files(folder / part))
        total = sum(one.size for one in files)
        for one in files if total > most else ():
            if total <= target:
                break
            if _removed(one.path):
                total -= one.size
        return total


def _files(folder: Path) -> Iterator[_Kept]:
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here) / name
            with suppress(OSError):  # removed meanwhile
                status = path.stat()
                if path.suffix != LOCK:
                    yield _Kept(status.st_mtime, status.st_blocks * _ALLOCATED, path)


def _removed(path: Path) -> bool:
    """Remove a file that nobody keeps."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is not None and not _take(number, fcntl.LOCK_EX, wait=False):
            return False
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(number)


def _take(number: int, kind: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(number, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True
