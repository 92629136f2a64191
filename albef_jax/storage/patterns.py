"""Patterns of names in a bucket, as `glob` has them for files, with one listing for a folder."""

import glob
import re
from collections.abc import Iterable, Iterator

from albef_jax.storage.paths import BucketPath, below


def matches(root: BucketPath, patterns: Iterable[str]) -> Iterator[BucketPath]:
    """The objects that the patterns stand for, those of each pattern sorted by name.

    A pattern without `*`, `?` and `[...]`, or one that matches nothing, is kept as it is. Several
    in one folder take one listing of it. Hidden objects are left out.

    Args:
        root: where the patterns start from; no pattern itself.
        patterns: names relative to it.
    """
    wanted = list(patterns)
    found: dict[tuple[BucketPath, bool], list[BucketPath]] = {}
    for pattern in wanted:
        folder, rest = _fixed(root, pattern)
        if len(wanted) == 1 and not glob.has_magic(rest):
            yield folder / rest
            continue
        deep = "/" in rest
        if (folder, deep) not in found:
            found[folder, deep] = list(folder.walk_files() if deep else folder.iterdir())
        if not glob.has_magic(rest):
            yield folder / rest  # whose size and version the listing has told
            continue
        fits = re.compile(_expression(rest)).fullmatch
        names = {below(folder, path): path for path in found[folder, deep]}
        fitting = [names[name] for name in sorted(names) if fits(name)]
        yield from fitting or [folder / rest]


def _fixed(root: BucketPath, pattern: str) -> tuple[BucketPath, str]:
    """The folder that a pattern names without magic, and what is left of the pattern."""
    parts = [part for part in pattern.split("/") if part]
    count = next((n for n, part in enumerate(parts[:-1]) if glob.has_magic(part)), len(parts) - 1)
    folder = root
    for part in parts[:count]:
        folder /= part
    return folder, "/".join(parts[count:])


def _expression(pattern: str) -> str:
    """A regular expression for `*`, `?`, `[...]`, and `**` for any number of folders."""
    parts = pattern.split("/")
    made = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            made += r"(?!\.)[^/]+(?:/(?!\.)[^/]+)*" if last else r"(?:(?!\.)[^/]+/)*"
            continue
        hidden = "" if part.startswith(".") else r"(?!\.)"
        made += hidden + _of_part(part) + ("" if last else "/")
    return made


def _of_part(part: str) -> str:
    pieces = re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", part)
    for place, piece in enumerate(pieces):
        if piece.startswith("*"):
            pieces[place] = "[^/]*"
        elif piece == "?":
            pieces[place] = "[^/]"
        elif piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            negated = piece[1] == "!"
            inside = piece[1 + negated : -1].replace("\\", r"\\").replace("^", r"\^")
            pieces[place] = f"[{'^' * negated}{inside.replace('[', chr(92) + '[')}]"
        else:
            pieces[place] = re.escape(piece)
    return "".join(pieces)
