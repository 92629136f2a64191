"""File patterns of the configuration (lists, braces, globs) to paths, or addresses in a bucket."""

import difflib
import glob
import re
from collections.abc import Iterator
from pathlib import Path

from albef_jax.storage.addresses import in_bucket
from albef_jax.storage.paths import AnyPath, BucketPath, path_of
from albef_jax.storage.patterns import matches

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


def expand(root: str | AnyPath, text: str) -> tuple[AnyPath, ...]:
    """The files that a list of patterns names, in the order of the list.

    `{00000..00331}` stands for every number of the range, as wide as its first one; `{a,b}` for
    each alternative; `*`, `?`, `[...]` and `**` for what matches, sorted by name. A file or a
    folder that has exactly the name of a pattern is that one, though not in a bucket. What matches
    nothing is kept as it is, so that it can be reported as missing.

    Args:
        root: where relative patterns start from; never a pattern itself.
        text: patterns, separated by commas.
    """
    found: list[AnyPath] = []
    for entry in split_list(text):
        found += _in_bucket(root, entry) or _matches(Path(str(root)), entry)
    return tuple(found)


def is_remote(name: str) -> bool:
    """Whether this is an address, such as `gs://...`, and not a path."""
    return bool(_REMOTE.match(name))


def is_unreadable(name: str) -> bool:
    """Whether this is an address from which nothing is read, such as `https://...`."""
    return is_remote(name) and not in_bucket(name)


def not_here(setting: str, name: str) -> str:
    """What to say about an address where a path must be."""
    return (
        f"{setting}: {name} is an address, where a path on this machine must be: mount the "
        "bucket as a directory (gcsfuse, rclone mount), or copy it here first (gcloud storage cp, "
        "aws s3 sync), and give that path"
    )


def not_read(setting: str, name: str) -> str:
    """What to say about an address from which data are not read."""
    return (
        f"{setting}: {name} is an address that data are not read from; give one in a bucket "
        "(gs://BUCKET/NAME, s3://BUCKET/NAME), or copy the data here and give their path"
    )


def nearest_file(path: AnyPath) -> str:
    """A hint at a file or directory of a similar name."""
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _in_bucket(root: str | AnyPath, entry: str) -> list[AnyPath]:
    """The objects that an entry names; none if it names paths."""
    if in_bucket(entry):
        protocol, _, rest = entry.partition("://")
        bucket, _, entry = rest.partition("/")
        root = path_of(f"{protocol}://{bucket}")
    root = path_of(root)
    if not isinstance(root, BucketPath) or Path(entry).is_absolute():
        return []
    return list(matches(root, _unbraced(entry)))


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
