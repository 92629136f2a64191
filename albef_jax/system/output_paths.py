"""Checks the output paths of a command before the work, not after it."""

import io
import os
from pathlib import Path

from PIL import Image


class CannotWrite(ValueError):
    """A path cannot be written; the message names the option and the reason."""


def check_file(path: Path, option: str, make_folder: bool = False) -> None:
    """Check a file that is written at the end.

    Args:
        option: for the message, such as `--report`.
        make_folder: make its folder if it is missing.

    Raises:
        CannotWrite: it is a folder, or its folder is missing or cannot be written to.
    """
    if path.is_dir():
        raise CannotWrite(f"{option}={path}: is a folder; name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise CannotWrite(f"{option}={path}: may not be written; name another file")
    if not make_folder and not path.parent.is_dir():
        raise CannotWrite(f"{option}={path}: no such directory: {path.parent}")
    check_folder(path.parent, option)


def check_folder(path: Path, option: str) -> None:
    """Check a folder that will be written to; it may not exist yet.

    Raises:
        CannotWrite: it, or its nearest existing parent, is a file or is read-only.
    """
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise CannotWrite(f"{option}={path}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CannotWrite(f"{option}={path}: nothing may be written in {there}")


def check_image(path: Path, option: str) -> None:
    """Check an image file that is written at the end: Pillow must support its suffix.

    Raises:
        CannotWrite: as `check_file`, or a format that Pillow does not know or cannot write.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise CannotWrite(f"{option}={path}: name an image, as sheet.jpg")
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), kind)
    except (KeyError, OSError, ValueError):  # no writer; one that is a stub; not for RGB
        raise CannotWrite(
            f"{option}={path}: Pillow cannot write {path.suffix}; name a .jpg or .png"
        ) from None
    check_file(path, option)
