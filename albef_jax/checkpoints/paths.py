"""Checks whether Orbax can write and read checkpoints in a directory.

It looks for the files of each process by a pattern made of the whole path: under `r[1]` it finds
nothing, or the files of `r1`. TensorStore takes `\\` for `/`, and needs UTF-8.
"""

from pathlib import Path

from albef_jax.errors import CheckpointError

_PATTERNS = "*?["  # special characters of `glob`


def check_writable_name(directory: Path, setting: str) -> None:
    """Refuse a directory whose checkpoints could not be read again; it need not exist.

    Args:
        setting: the option with the path, for the message.

    Raises:
        CheckpointError: its path, or that of a parent, has a character of a pattern.
    """
    _check(directory, setting, "kept", _PATTERNS)


def check_readable_name(directory: Path) -> None:
    """Refuse a directory that would appear empty or damaged.

    Raises:
        CheckpointError: TensorStore cannot represent its path, or that of a parent.
    """
    _check(directory, str(directory), "read", "")


def _check(directory: Path, setting: str, done: str, patterns: str) -> None:
    whole = directory.resolve().as_posix()
    found = next((letter for letter in whole if letter in patterns + "\\"), None)
    if found is None and _is_text(whole):
        return
    shown = whole.encode("utf-8", "backslashreplace").decode()
    what = f"{found!r}" if found else "a letter that is not UTF-8"
    # A relative path is shown twice, since the fault may be in a parent.
    raise CheckpointError(
        f"{setting}: checkpoints cannot be {done} under {shown}: there is {what} in this path; "
        "rename that folder, or choose another"
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
