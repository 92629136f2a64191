"""Fingerprints of files: size, and a digest of the content.

Of large files other than lists, 64 blocks are digested, and only if size or modification time has
changed, so that terabytes of shards are not read at each start. Of shards in a bucket, the version
that it gives each object stands for the content.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from albef_jax.storage.paths import AnyPath, BucketPath

Stamp = dict[str, Any]
Stamps = dict[str, Stamp]

_LARGE = 64 << 20  # bytes; smaller files are digested whole
_BLOCKS, _BLOCK = 64, 1 << 14
# Of all; of some blocks of a large file; of an object, what the bucket calls its version.
_DIGESTS = ("sha256", "sha256_of_blocks", "version")
_READERS = 8  # threads
_SHOWN = 5


def stamps(
    lists: Iterable[AnyPath],
    shards: Iterable[AnyPath] = (),
    before: Mapping[str, Stamp] | None = None,
) -> Stamps:
    """The stamp of each file, by its path.

    Args:
        lists: annotations and manifests, which are digested whole.
        shards: digested in part if they are large, and not at all in a bucket.
        before: earlier stamps; a large file with the same size and time keeps its digest.

    Raises:
        ValueError: a file cannot be read.
    """
    before = before or {}
    wanted = [(file, True) for file in lists] + [(file, False) for file in shards]

    def made(one: tuple[AnyPath, bool]) -> Stamp:
        file, whole = one
        try:
            return _stamp(file, whole, before.get(str(file), {}))
        except OSError as error:
            raise ValueError(f"{file}: cannot be read: {error.strerror}") from None

    with ThreadPoolExecutor(_READERS) as pool:
        made_ones = list(pool.map(made, wanted))
    return {str(file): one for (file, _), one in zip(wanted, made_ones, strict=True)}


def different(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> list[str]:
    """The changes of files, a line each; the first five in full.

    A large file with another modification time, but the same size and digest, was copied; a file of
    the same name and content in another folder was moved. Neither is a change.
    """
    before = _where_they_are(before, now)
    found = [f"{name}: is no longer named" for name in before if name not in now]
    found += [f"{name}: is new" for name in now if name not in before]
    for name in before.keys() & now.keys():
        if reason := _reason(before[name], now[name]):
            found.append(f"{name}: {reason}")
    shown = sorted(found)[:_SHOWN]
    return shown + ([f"... and {more} more files"] if (more := len(found) - len(shown)) else [])


def _where_they_are(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Earlier stamps, with moved files under their present paths."""
    moved = {_identity(name, now[name]): name for name in now if name not in before}
    found = {}
    for name, stamp in before.items():
        gone = name not in now
        found[moved.pop(_identity(name, stamp), name) if gone else name] = stamp
    return found


def _identity(name: str, stamp: Stamp) -> tuple:
    return Path(name).name, stamp["bytes"], *(stamp.get(digest) for digest in _DIGESTS)


def _reason(before: Stamp, now: Stamp) -> str | None:
    if before["bytes"] != now["bytes"]:
        return f"{before['bytes']} bytes before, {now['bytes']} now"
    if ("version" in before) != ("version" in now):
        return "was in a bucket before or is in one now, where only versions are compared"
    if any(before.get(digest) != now.get(digest) for digest in _DIGESTS):
        return "has other content than before"
    return None


def _stamp(file: AnyPath, whole: bool, before: Stamp) -> Stamp:
    if isinstance(file, BucketPath):
        if whole:  # small, and read by the run anyway
            data = file.read_bytes()
            return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        found = file.entry()
        return {"bytes": found.size, "version": found.version}
    with file.open("rb") as opened:
        status = os.fstat(opened.fileno())
        if whole or status.st_size <= _LARGE:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            return {"bytes": status.st_size, "sha256": digest}
        now = {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}
        if before | now == before and "sha256_of_blocks" in before:
            return dict(before)
        return {**now, "sha256_of_blocks": _blocks(opened, status.st_size)}


def _blocks(opened: BinaryIO, size: int) -> str:
    """A digest of blocks spread evenly from the first byte to the last."""
    total = hashlib.sha256()
    for number in range(_BLOCKS):
        opened.seek((size - _BLOCK) * number // (_BLOCKS - 1))
        total.update(opened.read(_BLOCK))
    return total.hexdigest()
