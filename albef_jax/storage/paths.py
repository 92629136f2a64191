"""Addresses as values that read like `pathlib.Path`, so that one code serves files and objects."""

import errno
import io
import posixpath
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from albef_jax.storage import addresses, settings
from albef_jax.storage.bucket import BucketFolder, Entry
from albef_jax.storage.cache import Span
from albef_jax.storage.ranges import Replaced
from albef_jax.storage.retries import AccessDenied
from albef_jax.storage.streams import Stream

Result = TypeVar("Result")
_REMEMBERED = 1 << 18  # objects whose size and version a process remembers


class Status(NamedTuple):
    """What `os.stat_result` is for a file.

    Attributes:
        st_size: in bytes.
        st_mtime_ns: a number for the object's version, in place of its time of change.
    """

    st_size: int
    st_mtime_ns: int


class BucketPath:
    """An address in a bucket. What is read comes from the cache of its settings if it is there.

    Size and version are asked for once in a process. An object that is written again while it is
    read is an error (`ranges.Replaced`), not a mixture. Errors are those of paths
    (`FileNotFoundError`, `PermissionError`), and `StorageError` where there is no answer for long.

    Args:
        address: `gs://BUCKET/KEY` or `s3://BUCKET/KEY`.
        options: by default those of the process at present.

    Raises:
        ValueError: no bucket is named.
    """

    def __init__(self, address: str, options: settings.Settings | None = None):
        protocol, self._bucket, key = addresses.split(address)
        self._key = posixpath.normpath(key) if key else ""
        self._address = "/".join(filter(None, [f"{protocol}://{self._bucket}", self._key]))
        self._settings = options or settings.current()

    def __repr__(self) -> str:
        return f"BucketPath({self._address!r})"

    def __str__(self) -> str:
        return self._address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketPath) and self._address == other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"known": _known.get(self._address)}

    def __setstate__(self, state: dict) -> None:
        known = state.pop("known")
        self.__dict__.update(state)
        if known is not None:
            self.remember(known)

    def __truediv__(self, name: object) -> "BucketPath":
        return BucketPath(addresses.join(self._address, str(name)), self._settings)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self._key).name

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return PurePosixPath(self._key).suffix

    @property
    def parent(self) -> "BucketPath":
        """The folder that it lies in; of a bucket, itself."""
        if not self._key:
            return self
        return BucketPath(addresses.parent_and_name(self._address)[0], self._settings)

    @property
    def parents(self) -> tuple["BucketPath", ...]:
        """The folders above, the nearest first, up to the bucket."""
        if not self._key:
            return ()
        return (self.parent, *self.parent.parents)

    def with_name(self, name: str) -> "BucketPath":
        """Another name in the same folder."""
        return self.parent / name

    def absolute(self) -> "BucketPath":
        """Itself."""
        return self

    def resolve(self) -> "BucketPath":
        """Itself."""
        return self

    def remember(self, entry: Entry) -> None:
        """Note size and version, from a listing."""
        with _lock:
            while len(_known) >= _REMEMBERED:
                _known.pop(next(iter(_known)))
            _known[self._address] = entry

    def entry(self) -> Entry:
        """Size and version.

        Raises:
            FileNotFoundError: there is no such object.
            PermissionError: it may not be read.
        """
        if (known := _known.get(self._address)) is not None:
            return known
        found = self._asked(lambda: self._folder().entry(self._key)) if self._key else None
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", self._address)
        self.remember(found)
        return found

    def stat(self) -> Status:
        """Size and version as `Path.stat` has size and time."""
        found = self.entry()
        return Status(found.size, version_number(found.version))

    def exists(self) -> bool:
        """Whether there is such an object, or a folder of objects."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.entry()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below the address; an object itself is no folder."""
        return self._asked(lambda: self._folder().is_folder(self._key))

    def iterdir(self) -> Iterator["BucketPath"]:
        """What is right in the folder."""
        for name, found in self._asked(lambda: self._folder().listed(self._key)).items():
            yield self._listed(name, found)

    def walk_files(self) -> Iterator["BucketPath"]:
        """All objects below the address."""
        start = len(self._key) + 1 if self._key else 0
        for name, found in self._asked(lambda: self._folder().entries(self._key)).items():
            yield self._listed(name[start:], found)

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """Parts of the object, each an offset and a size in bytes."""
        found = self.entry()
        key = f"{self._address} {found.version} {found.size}"

        def fetch(start: int, stop: int) -> bytes:
            folder = self._folder()
            return self._asked(lambda: folder.read_version(self._key, start, stop, found.version))

        return self._settings.cache().read(key, found.size, spans, fetch)

    def read_bytes(self) -> bytes:
        """The whole object as it is now."""
        try:
            return self.read_spans([(0, self.entry().size)])[0]
        except Replaced:
            self._forget()
            return self.read_spans([(0, self.entry().size)])[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text."""
        return io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding).read()

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file to read, for which some is read ahead."""
        if mode != "rb":
            raise ValueError(f"{self._address}: is opened to read bytes ('rb'), not {mode!r}")
        size = self.entry().size
        return io.BufferedReader(Stream(lambda span: self.read_spans([span])[0], size), 1 << 16)

    def here(self, check: Callable[[Path], None] = lambda file: None) -> Path:
        """A copy on this machine, kept at least as long as this process lives.

        Args:
            check: of the copy when it is new; raises if it is damaged.
        """
        found = self.entry()

        def download(draft: Path) -> None:
            self._asked(lambda: self._folder().download(self._key, draft))
            if draft.stat().st_size != found.size:
                raise Replaced(self._address)
            check(draft)

        key = f"{self._address} {found.version} {found.size}"
        return self._settings.cache().file(key, self.name, found.size, download)

    def kept_index(self) -> Path:
        """Where a reader may keep a small file about the object of this version."""
        found = self.entry()
        return self._settings.cache().index(f"{self._address} {found.version} {found.size}")

    def write_bytes(self, content: bytes) -> None:
        """Write the object; it appears as a whole."""
        self._asked(lambda: self._folder().write(self._key, content))
        self._forget()

    def upload(self, file: Path) -> None:
        """Write the object with the content of a file."""
        self._asked(lambda: self._folder().upload(file, self._key))
        self._forget()

    def unlink(self) -> None:
        """Remove the object, if it is there."""
        self._asked(lambda: self._folder().delete([self._key]))
        self._forget()

    def _listed(self, name: str, found: Entry | None) -> "BucketPath":
        path = self / name
        if found is not None:
            path.remember(found)
        return path

    def _forget(self) -> None:
        with _lock:
            _known.pop(self._address, None)

    def _folder(self) -> BucketFolder:
        protocol = self._address.partition(":")[0]
        return _bucket(f"{protocol}://{self._bucket}", self._settings.retry_seconds)

    def _asked(self, action: Callable[[], Result]) -> Result:
        """The result of a request; errors as those of paths."""
        try:
            return action()
        except AccessDenied as error:
            told = str(error).removeprefix(f"{self._address}: ")
            raise PermissionError(errno.EACCES, told, self._address) from error
        except Replaced:
            raise
        except FileNotFoundError:
            told = "there is no such object"
            raise FileNotFoundError(errno.ENOENT, told, self._address) from None


AnyPath = Path | BucketPath

_lock = threading.Lock()
_known: dict[str, Entry] = {}


def path_of(name: str | Path | BucketPath) -> AnyPath:
    """The path, or the address in a bucket, that a text names."""
    if isinstance(name, str) and addresses.in_bucket(name):
        return BucketPath(name)
    return name if isinstance(name, BucketPath) else Path(name)


def under(root: str | AnyPath, name: str | AnyPath) -> AnyPath:
    """The path of a name in a folder; an absolute path or an address stays as it is."""
    if isinstance(name, BucketPath) or addresses.in_bucket(str(name)):
        return path_of(name)
    return path_of(root) / name if not Path(name).is_absolute() else Path(name)


def in_order(paths: Iterable[AnyPath]) -> list[AnyPath]:
    """Paths and addresses sorted by their parts, as paths alone are."""
    return sorted(paths, key=lambda path: PurePosixPath(str(path)).parts)


def below(folder: AnyPath, path: AnyPath) -> str:
    """The name of something relative to a folder that it lies in, with `/` between its parts."""
    return PurePosixPath(str(path)).relative_to(PurePosixPath(str(folder))).as_posix()


def version_number(version: str) -> int:
    """A number of 63 bits for a version: that of Google itself, or a checksum."""
    if version.isdigit() and int(version) < 1 << 63:
        return int(version)
    data = version.encode()
    return zlib.crc32(data) << 31 | zlib.adler32(data) & 0x7FFFFFFF


@lru_cache
def _bucket(address: str, patience: float) -> BucketFolder:
    return BucketFolder(address, patience)
