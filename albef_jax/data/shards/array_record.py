"""Packed pairs in ArrayRecord shards, as `tools.pack_dataset` writes them: random access.

The number of records of each shard is compared with the manifest of its directory when it is
opened. Records are read on access. Shards in a bucket are fetched as a whole, before anything is
read, since the library reads files; the digest in the manifest is compared then.
"""

import hashlib
import logging
import resource
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from array_record.python import array_record_data_source as array_record
from array_record.python.array_record_module import ArrayRecordReader

from albef_jax.data.annotations.checks import refuse
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair
from albef_jax.data.shards.manifest import MANIFEST, Listed, listed
from albef_jax.data.shards.packed_record import decode_pair
from albef_jax.errors import BadSample
from albef_jax.storage.paths import AnyPath, BucketPath, path_of
from albef_jax.storage.retries import StorageError

_log = logging.getLogger(__name__)
_OPENERS = 16  # threads
_OTHER_FILES = 256  # open files of a run besides shards
_IDS = 2**31
_FOR_RANDOM_ACCESS = {"max_parallelism": "0"}  # it never reads ahead


class _Whole(NamedTuple):
    """A whole shard with its known length, which the library would otherwise count again."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class ArrayRecordPairs:
    """Random access to the pairs of one or more shards, one after the other; safe for threads.

    Shards of several directories were packed separately, so equal image ids may mean different
    images: the ids of a later directory are shifted behind those of the earlier ones.

    Args:
        files: paths of shards, or their addresses in a bucket.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: unusable shards, all named in one message.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(self, files: Sequence[str | AnyPath], setting: str = "data.train_files"):
        self._files = [path_of(file) for file in files]
        if not self._files:
            raise ValueError(f"no shards given ({setting})")
        _allow_open_files(self._files)
        manifests = {file.parent: listed(file.parent) for file in self._files}
        here, counts = _opened(self._files, manifests)
        self._ends = list(accumulate(counts))
        self._id_starts = _id_starts(manifests)
        instructions = [
            _Whole(str(file), 0, count, count) for file, count in zip(here, counts, strict=True)
        ]
        self._records = array_record.ArrayRecordDataSource(instructions, _FOR_RANDOM_ACCESS)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`; raises `BadSample` if record or image is unusable."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index`, not decoded; raises `BadSample` if the record is unusable."""
        index = range(len(self))[index]
        number = bisect_right(self._ends, index)
        file = self._files[number]
        place = f"{file}[{index - (self._ends[number - 1] if number else 0)}]"
        try:
            record = self._records[index]
        except RuntimeError as error:
            reason = str(error).partition(";")[0].partition(" (")[0]
            raise BadSample(place, f"the shard is damaged here: {reason}") from None
        found = decode_pair(record, place)
        image_id = found.image_id + self._id_starts[file.parent]
        return EncodedPair(found.name, found.data, found.captions, image_id)


def _opened(
    files: Sequence[AnyPath], manifests: dict[AnyPath, Listed | None]
) -> tuple[list[Path], list[int]]:
    """The shards on this machine and their numbers of records; every unusable one is named."""

    def open_one(file: AnyPath) -> tuple[Path, int] | str:
        try:
            return _open(file, manifests[file.parent])
        except StorageError:
            raise
        except ValueError as error:
            return str(error)

    _tell(files)
    with ThreadPoolExecutor(_OPENERS) as pool:
        found = list(pool.map(open_one, files))
    refuse([one for one in found if isinstance(one, str)], "the shards cannot be used:")
    usable = [one for one in found if not isinstance(one, str)]
    return [here for here, _ in usable], [count for _, count in usable]


def _tell(files: Sequence[AnyPath]) -> None:
    """Say that shards are fetched, which may take minutes."""
    if remote := [file for file in files if isinstance(file, BucketPath)]:
        _log.warning(
            "fetching %d shards as far as they are not here, as %s", len(remote), remote[0]
        )


def _open(file: AnyPath, manifest: Listed | None) -> tuple[Path, int]:
    try:
        there = file.is_file()
    except PermissionError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    if not there:
        raise ValueError(f"{file}: no such file")
    if manifest and file.name not in manifest.records:
        raise ValueError(
            f"{file}: not in the {MANIFEST} beside it; keep what was packed apart in directories "
            "of its own"
        )
    remedy = "copy it again, or delete it and its manifest and pack again"
    here = _here(file, manifest, remedy) if isinstance(file, BucketPath) else file
    reader = ArrayRecordReader(str(here), "readahead_buffer_size:0,max_parallelism:0")
    records = reader.num_records() if reader.ok() else 0
    try:
        reader.close()
    except RuntimeError as error:
        reason = str(error).partition(";")[0].partition(" (")[0]
        raise ValueError(f"{file}: not a whole ArrayRecord file ({reason}); {remedy}") from None
    if not records:
        raise ValueError(f"{file}: holds no records; leave it out")
    if manifest and records != manifest.records[file.name]:
        expected = manifest.records[file.name]
        raise ValueError(
            f"{file}: {records} records, the {MANIFEST} beside it says {expected}; {remedy}"
        )
    return here, records


def _here(file: BucketPath, manifest: Listed | None, remedy: str) -> Path:
    """A copy of a shard, which stays while this process lives."""

    def check(expected: str, copy: Path) -> None:
        with copy.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != expected:
                raise ValueError(f"{file}: not the SHA-256 that {MANIFEST} has; {remedy}")

    expected = manifest.sha256.get(file.name) if manifest else None
    try:
        return file.here(partial(check, expected)) if expected else file.here()
    except OSError as error:
        raise ValueError(f"{file}: cannot be fetched: {error.strerror or error}") from None


def _id_starts(manifests: dict[AnyPath, Listed | None]) -> dict[AnyPath, int]:
    """The offset of the image ids of each directory."""
    starts, start = {}, 0
    for directory, manifest in manifests.items():
        starts[directory] = start
        if len(manifests) > 1 and manifest is None:
            raise ValueError(
                f"{directory}: no {MANIFEST}, so image ids cannot be kept apart from those of "
                "other directories; let packing finish (the same command continues), or copy it too"
            )
        start += manifest.image_id_limit if manifest else 0
    if start > _IDS:
        raise ValueError(f"{len(starts)} directories with {start} image ids: {_IDS} is the limit")
    return starts


def _allow_open_files(files: Sequence[AnyPath]) -> None:
    """Raise the limit of open files, since each shard stays open once it is read.

    One from a bucket is open twice: the cache keeps it from being removed.
    """
    shards = len(files)
    needed = shards + sum(isinstance(file, BucketPath) for file in files) + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(
            f"{shards} shards, but a process may open {hard} files here; raise the limit "
            f"(ulimit -Hn {needed}), or pack with a larger --shard_size"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
