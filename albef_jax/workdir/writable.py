"""Reports a workdir that cannot be written in one line, at the start and during a run."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from albef_jax.errors import ConfigError, RunError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_DIRECTORY = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
_TRIAL = b"\0" * 4096  # a full disk may still have room for an empty file


def prepare(workdir: Path) -> None:
    """Make the directory if it is missing, and check that it is writable.

    Raises:
        ConfigError: it is not; the message has the remedy.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for directory in (workdir, workdir / "checkpoints"):
            if directory == workdir or directory.exists():
                _try(directory)
    except OSError as error:
        raise ConfigError(explain_write_error(workdir, error) or _line(workdir, error)) from error


def explain_write_error(workdir: Path, error: OSError) -> str | None:
    """The message for an error while a run writes; None if the error has another cause."""
    if error.errno in _FULL:
        return _line(workdir, error)
    if not isinstance(error.filename, str):
        return None
    failed, ours = Path(error.filename).absolute(), workdir.absolute()
    related = failed.is_relative_to(ours) or ours.is_relative_to(failed)
    return _line(workdir, error) if related else None


@contextmanager
def disk_errors_told(workdir: Path) -> Iterator[None]:
    """A full disk is one line, whatever was being written; what is there stays.

    Raises:
        RunError: in place of an error of writing to `workdir`.
    """
    try:
        yield
    except OSError as error:
        if (line := explain_write_error(workdir, error)) is None:
            raise
        raise RunError(line) from error


def _try(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(_TRIAL)
        file.flush()
        os.fsync(file.fileno())


def _line(workdir: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename and Path(error.filename).absolute() != workdir.absolute():
        reason += f": {error.filename}"
    what = "cannot be used"
    if error.errno in _FULL:
        what = "cannot write"
        remedy = "Make room; the same command continues from the newest checkpoint"
    elif error.errno in _NO_DIRECTORY:
        remedy = "It must be a directory, and lie in one: choose another --workdir"
    else:
        remedy = "Let this user read and write there, or choose another --workdir"
    return f"{workdir}: {what} ({reason}). {remedy}"
