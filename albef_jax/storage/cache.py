"""A bounded cache of objects in a folder, shared by the processes of a host.

    regions/NAME     32 MiB of an object, as far as they were read: chunks of 64 KiB
    files/NAME/FILE  a whole object, for what needs a path
    indexes/         small files that readers keep; never removed

A name depends on address and version, so nothing here is ever out of date. What was not used for
the longest time is removed when the cache grows beyond its limit. A chunk counts when its checksum
fits, so readers and writers of regions need no locks: those who write one twice write the same, and
a torn or damaged one is fetched again.
"""

import hashlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from albef_jax.storage.eviction import LOCK, alone, keep, remove_oldest

CHUNK = 1 << 16  # bytes
_IN_REGION = 512  # chunks
_ENTRY = struct.Struct("<II")  # checksum and size of a chunk; size 0 for one that is not there
_HEAD = _IN_REGION * _ENTRY.size  # bytes before the chunks, for their entries
_GAP = 4  # chunks that are fetched on the way, rather than by another request
_LONGEST = 128  # chunks of a request
_BOUNDED = ("regions", "files")
_TOUCH = 60.0  # seconds between two notes that a file is in use

Span = tuple[int, int]  # offset and size in bytes
Fetch = Callable[[int, int], bytes]  # the bytes from start to before stop


class Cache:
    """The cache in a folder. May be used by several threads and processes.

    Args:
        folder: made when something is written.
        limit: bytes on the disk. Files are removed from fifteen sixteenths of it on. Between two
            looks at the folder each process may write an eighth of what is missing to that, or a
            sixty-fourth of the limit if this is more; so it holds for four processes at least.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        # Bytes to write until the next look at the folder; the first write looks at once.
        self._until_sweep = 0
        self._lock = threading.Lock()
        self._touched: dict[Path, float] = {}
        self._pins: dict[Path, int] = {}  # open files, whose locks keep them from being removed

    def read(self, key: str, size: int, spans: Sequence[Span], fetch: Fetch) -> list[bytes]:
        """Parts of an object; what is not here is fetched and kept.

        Args:
            key: of the object's address and version.
            size: of the object, in bytes.
            spans: the parts, which lie within the object.
            fetch: reads from the bucket; its errors are passed on.
        """
        needed = sorted({chunk for span in spans for chunk in _chunks(span)})
        found = self._load(key, needed)
        for run in _runs([chunk for chunk in needed if chunk not in found]):
            start, stop = run.start * CHUNK, min(run.stop * CHUNK, size)
            data = memoryview(fetch(start, stop))
            fresh = {
                chunk: bytes(data[place * CHUNK : (place + 1) * CHUNK])
                for place, chunk in enumerate(run)
            }
            self._store(key, fresh)
            found |= fresh
        return [_assembled(found, span) for span in spans]

    def file(self, key: str, name: str, size: int, download: Callable[[Path], None]) -> Path:
        """A whole object as a file, kept at least as long as this process lives.

        Args:
            key: of the object's address and version.
            name: of the file.
            size: of the object, in bytes.
            download: writes it to a path, and raises if it is damaged.

        Raises:
            ValueError: the files in use exceed the limit.
        """
        path = self.folder / "files" / _name(key) / name
        while (opened := self._pinned(path, size)) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with alone(path.with_name(f".{name}{LOCK}")):  # one process of the host fetches it
                if path.exists() and path.stat().st_size == size:
                    continue
                self._make_room(size)
                draft = path.with_name(f".{name}.{os.getpid()}.new")
                try:
                    download(draft)
                    draft.replace(path)
                finally:
                    draft.unlink(missing_ok=True)
        return opened

    def index(self, key: str) -> Path:
        """The path of a small file that a reader may keep about an object."""
        return self.folder / "indexes" / _name(key)

    def _pinned(self, path: Path, size: int) -> Path | None:
        with self._lock:
            if path in self._pins:
                return path
            try:
                number = os.open(path, os.O_RDONLY)
            except OSError:
                return None
            status = os.fstat(number)
            # No links: removed before it was locked.
            if status.st_size != size or not keep(number) or not os.fstat(number).st_nlink:
                os.close(number)
                return None
            self._pins[path] = number
        self._touch(path)
        return path

    def _make_room(self, size: int) -> None:
        with self._lock:
            used = sum(os.fstat(number).st_size for number in self._pins.values())
        if used + size > self.limit:
            raise ValueError(
                f"{(used + size) / 1e9:.3g} GB of shards are in use at once, and "
                f"storage.cache_gb={self.limit / 1e9:g}; raise it"
            )
        rest = self.limit - size
        remove_oldest(self.folder, _BOUNDED, rest, rest)

    def _load(self, key: str, chunks: Sequence[int]) -> dict[int, bytes]:
        """The chunks that are here and whole."""
        found: dict[int, bytes] = {}
        for region, some in _by_region(chunks):
            path = self._region(key, region)
            with suppress(OSError):
                number = os.open(path, os.O_RDONLY)
                try:
                    head = os.pread(number, _HEAD, 0)
                    for chunk in some if len(head) == _HEAD else ():
                        place = chunk % _IN_REGION
                        checksum, size = _ENTRY.unpack_from(head, place * _ENTRY.size)
                        if not 0 < size <= CHUNK:
                            continue
                        data = os.pread(number, size, _HEAD + place * CHUNK)
                        if len(data) == size and zlib.crc32(data) == checksum:
                            found[chunk] = data
                finally:
                    os.close(number)
                self._touch(path)
        return found

    def _store(self, key: str, chunks: dict[int, bytes]) -> None:
        """Keep chunks. A disk that is full or read-only is no error: they are fetched again."""
        with suppress(OSError):
            for region, some in _by_region(sorted(chunks)):
                path = self._region(key, region)
                path.parent.mkdir(parents=True, exist_ok=True)
                number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    if os.fstat(number).st_size < _HEAD:
                        os.ftruncate(number, _HEAD)
                    for chunk in some:
                        place, data = chunk % _IN_REGION, chunks[chunk]
                        entry = _ENTRY.pack(zlib.crc32(data), len(data))
                        os.pwrite(number, data, _HEAD + place * CHUNK)
                        os.pwrite(number, entry, place * _ENTRY.size)
                finally:
                    os.close(number)
            written = sum(map(len, chunks.values()))
            with self._lock:
                self._until_sweep -= written
                due = self._until_sweep < 0
                if due:  # meanwhile no other thread of this process does the same
                    self._until_sweep = self.limit // 64
            if due:
                self._sweep()

    def _sweep(self) -> None:
        sixteenth = self.limit // 16
        most, target = self.limit - sixteenth, self.limit - 2 * sixteenth
        left = remove_oldest(self.folder, _BOUNDED, most, target)
        with self._lock:
            self._until_sweep = max(self.limit // 64, (most - left) // 8)

    def _region(self, key: str, region: int) -> Path:
        name = _name(f"{key} {region}")
        return self.folder / "regions" / name[:2] / name

    def _touch(self, path: Path) -> None:
        """Note that a file is in use; its time of change says when it was last."""
        now = time.monotonic()
        if now - self._touched.get(path, -_TOUCH) < _TOUCH:
            return
        with self._lock:
            if len(self._touched) > 1 << 16:
                self._touched.clear()
            self._touched[path] = now
        with suppress(OSError):
            os.utime(path)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _chunks(span: Span) -> range:
    offset, size = span
    return range(offset // CHUNK, -(-(offset + size) // CHUNK) if size else offset // CHUNK)


def _by_region(chunks: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    regions: dict[int, list[int]] = {}
    for chunk in chunks:
        regions.setdefault(chunk // _IN_REGION, []).append(chunk)
    yield from regions.items()


def _runs(chunks: Sequence[int]) -> Iterator[range]:
    """Ranges that cover the sorted chunks, each to be fetched at once."""
    run: range | None = None
    for chunk in chunks:
        if run is not None and chunk - run.stop <= _GAP and chunk - run.start < _LONGEST:
            run = range(run.start, chunk + 1)
            continue
        if run is not None:
            yield run
        run = range(chunk, chunk + 1)
    if run is not None:
        yield run


def _assembled(chunks: dict[int, bytes], span: Span) -> bytes:
    offset, size = span
    covered = _chunks(span)
    joined = b"".join(chunks[chunk] for chunk in covered)
    skip = offset - covered.start * CHUNK
    return joined[skip : skip + size]
