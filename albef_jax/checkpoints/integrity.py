"""The checksums of a saved step: a list of its files with sizes and CRCs.

The list is written last, before Orbax gives the step its name, so any difference is later damage.
"""

import json
import zlib
from pathlib import Path

from albef_jax.system import atomic

NAME = "files.json"
_BLOCK = 1 << 22


def write_checksums(step: Path) -> None:
    """Write the checksums of all files of a complete step."""
    files = sorted(path for path in step.glob("*/**/*") if path.is_file())
    entries = {
        path.relative_to(step).as_posix(): [path.stat().st_size, _checksum(path)] for path in files
    }
    atomic.write_text(step / NAME, json.dumps(entries, indent=1) + "\n")


def damage(
    step: Path, items: tuple[str, ...] = ("",), share: tuple[int, int] = (0, 1)
) -> str | None:
    """The damage of a step's files, in words; None without damage, or without checksums.

    Args:
        items: the parts to check, such as `params/`; the others may be damaged.
        share: `(i, n)` reads the content of every n-th file only, from the i-th on; sizes are
            compared for all.
    """
    number, count = share
    for place, (name, (size, checksum)) in enumerate(_entries(step).items()):
        file = step / name
        if not name.startswith(items):
            continue
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
        if place % count == number and _checksum(file) != checksum:
            return f"{name} has other content than was written"
    return None


def _entries(step: Path) -> dict[str, list[int]]:
    try:
        return json.loads((step / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # written by an earlier version; reading will show damage


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
