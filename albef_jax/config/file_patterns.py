"""File patterns of the configuration (lists, braces, globs) to paths on this machine."""

import difflib
import glob
import re
from collections.abc import Iterator
from pathlib import Path

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:")


def split_list(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated list; commas in brackets or braces separate nothing."""
    entries, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0:
            entries.append("")
        else:
            entries[-1] += letter
    return tuple(entry.strip() for entry in entries if entry.strip())


def expand(root: str | Path, text: str) -> tuple[Path, ...]:
    """The files that a list of patterns names, in the order of the list.

    `{00000..00331}` stands for every number of the range, as wide as its first one; `{a,b}` for
    each alternative; `*`, `?`, `[...]` and `**` for what matches, sorted by name. A file or a
    folder that has exactly the name of a pattern is that one. What matches nothing is kept as it
    is, so that it can be reported as missing.

    Args:
        root: where relative patterns start from; never a pattern itself.
        text: patterns, separated by commas.
    """
    return tuple(path for entry in split_list(text) for path in _matches(Path(root), entry))


def is_remote(name: str) -> bool:
    """Whether this is an address, such as `gs://...`, and not a path."""
    return bool(_REMOTE.match(name))


def not_here(setting: str, name: str) -> str:
    """What to say about an address where a path must be."""
    return (
        f"{setting}: {name} is an address, and data are read from paths on this machine: mount the "
        "bucket as a directory (gcsfuse, rclone mount), or copy it here first (gcloud storage cp, "
        "aws s3 sync), and give that path"
    )


def nearest_file(path: Path) -> str:
    """A hint at a file or directory of a similar name."""
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _matches(root: Path, entry: str) -> Iterator[Path]:
    folder, rest = _literal(root, entry)
    if not rest:
        yield folder
        return
    for name in _unbraced(rest):
        found: list[str] = []
        if glob.has_magic(name):
            # Unlike `Path.glob`, it leaves out hidden files.
            whole = str(Path(glob.escape(str(folder))) / name)
            found = sorted(glob.glob(whole, recursive=True))  # noqa: PTH207
        yield from [Path(one) for one in found] or [folder / name]


def _literal(root: Path, entry: str) -> tuple[Path, str]:
    """What is there of `root / entry` by exactly this name, from its start on; and the rest."""
    parts = Path(entry).parts
    folder = root
    for place, part in enumerate(parts):
        if not (folder / part).exists():
            return folder, str(Path(*parts[place:]))
        folder /= part
    return folder, ""


def _unbraced(name: str) -> Iterator[str]:
    """The names that the first braces of a name stand for, and so on for those after them."""
    for braces in _BRACES.finditer(name):
        if values := _values(braces[1]):
            for value in values:
                yield from _unbraced(name[: braces.start()] + value + name[braces.end() :])
            return
    yield name


def _values(body: str) -> list[str]:
    if ends := _RANGE.fullmatch(body):
        numbers = range(int(ends[1]), int(ends[2]) + 1)
        return [str(number).zfill(len(ends[1])) for number in numbers]
    return body.split(",") if "," in body else []
