"""Finds the images that annotations name, and explains missing ones."""

import os
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np

_PROBES = 64


def on_this_machine(path: Path) -> Path:
    """The path itself; or with `/` for `\\`, as lists made on Windows have it, if that is there."""
    if "\\" not in str(path) or _why_not(path) is None:
        return path
    turned = Path(str(path).replace("\\", "/"))
    return turned if _why_not(turned) is None else path


def probe(root: Path, images: Sequence[str], setting: str) -> None:
    """Probe some images, spread over the list.

    Args:
        images: paths; relative ones start from `root`.
        setting: the option with `root`, for the message.

    Raises:
        ValueError: more than half of them are missing or unreadable.
    """
    places = np.unique(np.linspace(0, len(images) - 1, _PROBES).astype(int)) if images else ()
    found = [(images[place], on_this_machine(root / images[place])) for place in places]
    reasons = [(given, path, _why_not(path)) for given, path in found]
    bad = [(given, path, reason) for given, path, reason in reasons if reason is not None]
    if len(bad) <= len(found) / 2:
        return
    counted = f"{len(bad)} of {len(found)} images looked for"
    given, path, reason = bad[0]
    if reason != _MISSING:
        raise ValueError(f"{setting}={root}: {counted} cannot be read, as {path}: {reason}")
    if Path(given).is_absolute() or PureWindowsPath(given).is_absolute():
        raise ValueError(
            f"{counted} are not there, as {path}: the annotations name them by absolute paths, "
            f"which {setting} does not change; make these paths relative to it"
        )
    raise ValueError(
        f"{setting}={root}: {counted} are not there, as {path}; image paths in the annotations "
        f"start from {setting}"
    )


_MISSING = "is not there"


def _why_not(path: Path) -> str | None:
    """Why the file cannot be read; None if it can."""
    try:
        if not path.exists():
            return _MISSING
        if not path.is_file():
            return "is no file"
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        return getattr(error, "strerror", None) or _MISSING
    return None if os.access(path, os.R_OK) else "Permission denied"
