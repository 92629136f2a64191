"""One process at a time writes to a workdir."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from albef_jax.errors import ConfigError
from albef_jax.workdir.writable import explain_write_error, prepare

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "lock"


@contextmanager
def locked(workdir: Path, first: bool = True) -> Iterator[None]:
    """Hold the workdir's lock; the system releases it when the process ends, however it ends.

    Args:
        first: whether this is the first process of its job; the others need no lock.

    Raises:
        ConfigError: another process holds it, which the message names; or the workdir cannot be
            written.
    """
    if not first:
        yield
        return
    prepare(workdir)
    with _opened(workdir) as file:
        _take(file, workdir)
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        yield


def _opened(workdir: Path) -> IO[str]:
    try:
        return (workdir / NAME).open("a+", encoding="utf-8")
    except OSError as error:  # of another user
        raise ConfigError(explain_write_error(workdir, error)) from error


def _take(file: IO[str], workdir: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{workdir} is in use by {_holder(file)}. Wait for its end, or choose another "
            "--workdir; to evaluate what it has saved so far, also set "
            f"--config.init.checkpoint={workdir} and --eval_only"
        ) from None
    except OSError as error:  # a file system without locks
        print(f"WARNING: {workdir} cannot be locked: {error}", file=sys.stderr, flush=True)


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.load(file)
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # has not written its name yet
