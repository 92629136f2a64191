"""Which directories Orbax can keep checkpoints in, and which ones it can read them from.

It looks for what each process wrote by a pattern made of the whole path: under `r[1]` it finds
nothing, or what lies under `r1`. TensorStore below it takes `\\` for `/`, and needs UTF-8.
"""

from pathlib import Path

from albef_jax.errors import CheckpointError

_PATTERNS = "*?["  # what `glob` heeds


def check_writable_name(directory: Path, setting: str) -> None:
    """Refuse a directory whose checkpoints could not be read again; it need not exist.

    Args:
        setting: where it was given, for the message.

    Raises:
        CheckpointError: its path, or that of a folder above it, has a letter that is a pattern.
    """
    _check(directory, setting, "kept", _PATTERNS)


def check_readable_name(directory: Path) -> None:
    """Refuse a directory that could only seem to be empty or damaged.

    Raises:
        CheckpointError: its path, or that of a folder above it, cannot be told to TensorStore.
    """
    _check(directory, str(directory), "read", "")


def _check(directory: Path, setting: str, done: str, patterns: str) -> None:
    whole = directory.resolve().as_posix()
    found = next((letter for letter in whole if letter in patterns + "\\"), None)
    if found is None and _is_text(whole):
        return
    shown = whole.encode("utf-8", "backslashreplace").decode()
    what = f"{found!r}" if found else "a letter that is not UTF-8"
    # The path is told twice where it was given in short: the fault may be in a folder above.
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
