"""Writes small files atomically: a killed process leaves the whole file or none."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file under another name first, then move it to `path`.

    Bytes of file names that are not UTF-8 are written as escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same with any content."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
