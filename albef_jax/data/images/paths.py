"""Finds the images that annotations name, and explains missing ones."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

import numpy as np

from albef_jax.storage.addresses import in_bucket
from albef_jax.storage.paths import AnyPath, BucketPath, path_of, under
from albef_jax.storage.retries import StorageError

_PROBES, _AT_ONCE = 64, 16


def on_this_machine(path: AnyPath) -> AnyPath:
    """The path itself; or with `/` for `\\`, as lists made on Windows have it, if that is there."""
    if "\\" not in str(path) or _why_not(path) is None:
        return path
    turned = path_of(str(path).replace("\\", "/"))
    return turned if _why_not(turned) is None else path


def probe(root: AnyPath, images: Sequence[str], setting: str) -> None:
    """Probe some images, spread over the list.

    Args:
        images: paths; relative ones start from `root`.
        setting: the option with `root`, for the message.

    Raises:
        ValueError: more than half of them are missing or unreadable.
    """
    places = np.unique(np.linspace(0, len(images) - 1, _PROBES).astype(int)) if images else ()
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a look into a bucket takes its time
        reasons = list(pool.map(lambda place: _probed(root, images[place]), places))
    bad = [(given, path, reason) for given, path, reason in reasons if reason is not None]
    if len(bad) <= len(reasons) / 2:
        return
    counted = f"{len(bad)} of {len(reasons)} images looked for"
    given, path, reason = bad[0]
    if reason != _MISSING:
        raise ValueError(f"{setting}={root}: {counted} cannot be read, as {path}: {reason}")
    absolute = Path(given).is_absolute() or PureWindowsPath(given).is_absolute()
    if absolute or in_bucket(given):
        raise ValueError(
            f"{counted} are not there, as {path}: the annotations name them by absolute paths, "
            f"which {setting} does not change; make these paths relative to it"
        )
    raise ValueError(
        f"{setting}={root}: {counted} are not there, as {path}; image paths in the annotations "
        f"start from {setting}"
    )


_MISSING = "is not there"


def _probed(root: AnyPath, image: str) -> tuple[str, AnyPath, str | None]:
    path = on_this_machine(under(root, image))
    return image, path, _why_not(path)


def _why_not(path: AnyPath) -> str | None:
    """Why the file cannot be read; None if it can."""
    try:
        if not path.exists():
            return _MISSING
        if not path.is_file():
            return "is no file"
    except StorageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        return getattr(error, "strerror", None) or _MISSING
    if isinstance(path, BucketPath):
        return None
    return None if os.access(path, os.R_OK) else "Permission denied"
