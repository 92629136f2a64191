"""The index of a tar shard: the places of its samples, scanned once and kept in a small file.

img2dataset and WebDataset write such shards: the files of a sample share a key, such as
`000000123.jpg`, `000000123.txt`, `000000123.json` (`tar_samples` has the rules). The index is kept
beside the shard, or in the user's cache if that directory is read-only, and is rebuilt when the
shard's size or modification time changes. That of a shard in a bucket is kept in the cache of
buckets, for the version that was scanned.
"""

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from albef_jax.data.shards.tar_samples import Member, group, link_target
from albef_jax.storage.paths import AnyPath, BucketPath, Status
from albef_jax.system.user_cache import user_cache

_FORMAT = 2  # of the kept index
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_INCOMPLETE = "cut short, or still being written; fetch or write it again"


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard in the order of their first file.

    Attributes:
        stamp: size in bytes and modification time in ns of the shard.
        keys: bytes `[n]`, UTF-8.
        places: int64 `[n, 3, 2]`, offset and size in bytes of image, .txt and .json; offset -1 for
            a missing one.
        strays: bytes `[m, 2]`, UTF-8: the members that belong to no sample, with the reason.
    """

    stamp: tuple[int, int]
    keys: np.ndarray
    places: np.ndarray
    strays: np.ndarray


def stamp(status: os.stat_result | Status) -> tuple[int, int]:
    """The size and the modification time of a file, to notice changes."""
    return status.st_size, status.st_mtime_ns


def open_index(shard: AnyPath) -> tuple[ShardIndex, bool]:
    """The index of a shard, and whether it was kept from earlier.

    Raises:
        ValueError: not a tar file with random access; the message has the remedy.
        OSError: the shard cannot be read.
    """
    now = stamp(shard.stat())
    for file in _kept_at(shard):
        if (index := _load(file)) and index.stamp == now:
            return index, True
    index = build_index(shard)
    for file in _kept_at(shard):
        with suppress(OSError):
            _save(file, index)
            break
    return index, False


def build_index(shard: AnyPath) -> ShardIndex:
    """The index of a shard by a walk through its headers (see `open_index`)."""
    found = stamp(shard.stat())
    samples, strays = group(members(shard))
    places = [[(-1, 0) if one is None else one[1:3] for one in files] for _, files in samples]
    return ShardIndex(
        found,
        np.array([_bytes(key) for key, _ in samples], "S"),
        np.array(places, np.int64).reshape(-1, 3, 2),
        np.array([[_bytes(text) for text in stray] for stray in strays], "S").reshape(-1, 2),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def members(shard: AnyPath) -> Iterator[Member]:
    """The files and links of a tar file, in order.

    Raises:
        ValueError: empty, compressed, damaged, or cut short.
    """
    with shard.open("rb") as file:
        _check_start(file.read(8))
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isdir():
                        yield _member(member)
                end = tar.offset
        except tarfile.ReadError as error:
            cut = "unexpected end" in str(error)
            raise ValueError(_INCOMPLETE if cut else f"not a tar file ({error})") from None
        file.seek(end)
        mark = file.read(tarfile.BLOCKSIZE)
    # `tarfile` takes an unreadable header for the end.
    if len(mark) < tarfile.BLOCKSIZE:
        raise ValueError(_INCOMPLETE)
    if any(mark):
        raise ValueError(f"damaged at byte {end}; fetch or write it again")


def _member(found: tarfile.TarInfo) -> Member:
    if found.isreg() and not found.issparse():
        return Member(found.name, found.offset_data, found.size)
    if found.islnk():
        return Member(found.name, -1, 0, found.linkname)
    if found.issym():
        return Member(found.name, -1, 0, link_target(found.name, found.linkname))
    return Member(found.name, -1, 0)


def _check_start(start: bytes) -> None:
    if not start:
        raise ValueError("empty (0 bytes); fetch or write it again")
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            raise ValueError(
                f"compressed ({kind}), which allows no access at random; unpack it to a plain .tar "
                "(images are compressed already)"
            )


def _kept_at(shard: AnyPath) -> tuple[Path, ...]:
    """Possible paths of an index: beside the shard, hidden from globs, or in the user's cache."""
    if isinstance(shard, BucketPath):
        return (shard.kept_index(),)
    beside = shard.with_name(f".{shard.name}.index.npz")
    if (cache := user_cache()) is None:
        return (beside,)
    digest = hashlib.sha256(os.fsencode(shard.absolute())).hexdigest()[:32]
    return beside, cache / "shards" / f"{digest}.npz"


def _load(file: Path) -> ShardIndex | None:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            version, size, changed = kept["stamp"].tolist()
            index = ShardIndex((size, changed), kept["keys"], kept["places"], kept["strays"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or damaged
        return None
    return index if version == _FORMAT else None


def _save(file: Path, index: ShardIndex) -> None:
    """Write an index atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as out:
            np.savez(
                out,
                stamp=[_FORMAT, *index.stamp],
                keys=index.keys,
                places=index.places,
                strays=index.strays,
            )
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
