"""Reads PyTorch `.pth` files without PyTorch, and without executing anything in them.

Two forms exist: the zip archive of PyTorch 1.6 and later, with one member per storage, and the
older stream of pickles followed by raw storages. Every announced size is compared with the size of
the file before memory is allocated, so a damaged or hostile file costs no more than its own length,
and every fault is a `CheckpointError` that names the file and the part. Storages are read last, and
only the model's: the optimizer's are twice as large.
"""

import io
import mmap
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from albef_jax.checkpoints.torch_format import unpickler, weights_entry
from albef_jax.errors import CheckpointError

_ZIP_START = b"PK\x03\x04"
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_VERSION = 1001
_BLOCK = 16 * 2**20  # bytes in one read

# The arrays of the unpickled object whose contents are read; None: all.
Choice = Callable[[object], Collection[np.ndarray] | None]


def read_pth(path: str | Path) -> dict:
    """Everything in a `.pth` file: the saved dictionary, its tensors as read-only numpy arrays.

    Tensors that share a storage share memory. `argparse.Namespace` objects come back as
    `allowed_globals.Inert`.

    Raises:
        CheckpointError: damaged, big-endian, compressed, or using a name that is not allowed.
        OSError: the file cannot be opened.
    """
    return _read(Path(path), lambda content: None)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The named tensors of a `.pth` file, see `read_model`.

    Raises:
        CheckpointError: as `read`, or there are none.
    """
    return read_model(path).state


def read_model(path: str | Path) -> weights_entry.Found:
    """The weights in a `.pth` file, under any known entry; see `weights_entry.find`.

    For other tensors in the file only the sizes are read.

    Raises:
        CheckpointError: as `read`, or there are none.
    """
    path = Path(path)
    try:
        return weights_entry.find(_read(path, _weights))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _weights(content: object) -> list[np.ndarray]:
    try:
        return list(weights_entry.find(content).state.values()) if isinstance(content, dict) else []
    except ValueError:  # reported after the file is read
        return []


def _read(path: Path, choice: Choice) -> dict:
    with path.open("rb") as file:
        start = file.read(len(_ZIP_START))
        with _errors_named(path, "the file"):
            if sys.byteorder != "little":
                raise ValueError("this reader needs a little-endian machine")
            if len(start) < len(_ZIP_START):
                raise ValueError("too short for a PyTorch checkpoint")
        read_pth = _read_zip if start == _ZIP_START else _read_stream
        value = read_pth(path, choice)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not a dictionary")
    return value


@contextmanager
def _errors_named(path: Path, part: str) -> Iterator[None]:
    """Turn any error from hostile bytes into a `CheckpointError` with the file and the part."""
    try:
        yield
    except CheckpointError:
        raise
    except (
        *(ValueError, KeyError, EOFError, OSError, OverflowError, RuntimeError, struct.error),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise CheckpointError(f"{path}: {part}: {error}") from error


class _Storages:
    """The flat arrays behind tensors: allocated empty, which takes no memory yet, and filled last.

    Args:
        limit: bytes that all of them together may take.
    """

    def __init__(self, limit: int):
        self._left = limit
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def keys(self) -> list[str]:
        return list(self._arrays)

    def announce(self, key: str, dtype: np.dtype, numel: int) -> np.ndarray:
        """The storage `key`, created on first use."""
        if key not in self._arrays:
            self._left -= numel * dtype.itemsize
            if self._left < 0:
                raise ValueError(f"storage {key[:80]} of {numel} {dtype} is larger than the file")
            self._arrays[key] = np.empty(numel, dtype)
        storage = self._arrays[key]
        if storage.dtype != dtype or storage.size != numel:
            raise ValueError(f"storage {key} is announced with two types or sizes")
        return storage

    def wanted(self, tensors: Collection[np.ndarray] | None) -> set[str]:
        """The keys of the storages of these tensors; None for all."""
        if tensors is None:
            return set(self._arrays)
        owners = {id(array): key for key, array in self._arrays.items()}
        return {owners[base] for base in map(_owner, tensors) if base in owners}


def _owner(tensor: np.ndarray) -> int:
    """The id of the array at the end of a view's bases."""
    while (base := getattr(tensor, "base", None)) is not None:
        tensor = base
    return id(tensor)


def _read_zip(path: Path, choice: Choice) -> object:
    with _errors_named(path, "the zip archive"), zipfile.ZipFile(path) as archive:
        return _Archive(path, archive).read(choice)


class _Archive:
    """The zip form: `<root>/data.pkl`, `<root>/byteorder`, and `<root>/data/<key>`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path = path
        self._archive = archive
        self._storages = _Storages(path.stat().st_size)
        self._check_members()
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members end in /data.pkl; a checkpoint has one")
        self._root = pickles[0].removesuffix("data.pkl")

    def read(self, choice: Choice) -> object:
        if f"{self._root}byteorder" in self._archive.namelist():
            order = self._bytes("byteorder")
            if order != b"little":
                raise ValueError(f"byte order {order[:16]!r}; save it on a little-endian machine")
        pickle = self._bytes("data.pkl")
        with _errors_named(self._path, f"{self._root}data.pkl"):
            value = unpickler.load(io.BytesIO(pickle), self._storage)
        wanted = self._storages.wanted(choice(value))
        for key in sorted(wanted):
            self._fill(key)
        return value

    def _check_members(self) -> None:
        left = self._path.stat().st_size
        for member in self._archive.infolist():
            left -= member.file_size
            with _errors_named(self._path, member.filename[:80]):
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("is compressed, as PyTorch never does; unpack and save again")
                if member.compress_size != member.file_size or left < 0:
                    raise ValueError(f"its {member.file_size} bytes do not fit into the file")

    def _bytes(self, name: str) -> bytes:
        member = f"{self._root}{name}"
        with _errors_named(self._path, member[:80]):
            return self._archive.read(member)

    def _storage(self, key: str, dtype: np.dtype, numel: int) -> np.ndarray:
        member = f"{self._root}data/{key}"
        with _errors_named(self._path, member[:80]):
            size = self._archive.getinfo(member).file_size
        if size != numel * dtype.itemsize:
            raise CheckpointError(
                f"{self._path}: {member}: {size} bytes, but announced as {numel} elements of "
                f"{dtype}"
            )
        return self._storages.announce(key, dtype, numel)

    def _fill(self, key: str) -> None:
        member = f"{self._root}data/{key}"
        target = self._storages[key].view(np.uint8)
        with _errors_named(self._path, member[:80]), self._archive.open(member) as file:
            filled = 0
            while block := file.read(_BLOCK):  # the last one compares the checksum
                target[filled : filled + len(block)] = np.frombuffer(block, np.uint8)
                filled += len(block)
            if filled != target.size:
                raise ValueError(f"cut short: {filled} of {target.size} bytes")


def _read_stream(path: Path, choice: Choice) -> object:
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        return _Stream(path, content).read(choice)


class _Stream:
    """The stream form: magic, version, system, object, storage keys; then each storage."""

    def __init__(self, path: Path, content: mmap.mmap):
        self._path = path
        self._content = content
        self._storages = _Storages(len(content))

    def read(self, choice: Choice) -> object:
        with _errors_named(self._path, "not a PyTorch checkpoint"):
            magic = self._pickle()
            if type(magic) is not int or magic != _STREAM_MAGIC:
                raise ValueError("neither a zip archive nor a stream that starts with the magic")
        with _errors_named(self._path, "stream header"):
            self._check_header(self._pickle(), self._pickle())
        with _errors_named(self._path, "stream object"):
            value = self._pickle()
        with _errors_named(self._path, "stream storage keys"):
            keys = self._pickle()
            if not isinstance(keys, list) or any(type(key) is not str for key in keys):
                raise ValueError("not a list of keys")
            if sorted(keys) != sorted(self._storages.keys()):
                raise ValueError("not the keys of the storages that tensors use")
        wanted = self._storages.wanted(choice(value))
        for key in keys:
            with _errors_named(self._path, f"stream storage {key}"):
                self._fill(self._storages[key], key in wanted)
        return value

    def _pickle(self) -> object:
        return unpickler.load(self._content, self._storages.announce)

    def _check_header(self, version: object, system: object) -> None:
        if type(version) is not int or version != _STREAM_VERSION:
            raise ValueError(f"not version {_STREAM_VERSION} of the stream form")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("big-endian; save it on a little-endian machine")

    def _fill(self, storage: np.ndarray, wanted: bool) -> None:
        header = self._content.read(8)
        if len(header) < 8 or int.from_bytes(header, "little") != storage.size:
            raise ValueError(f"does not announce the {storage.size} elements that tensors need")
        start, end = self._content.tell(), self._content.tell() + storage.nbytes
        if end > len(self._content):
            raise ValueError(f"cut short: {len(self._content) - start} of {storage.nbytes} bytes")
        self._content.seek(end)
        if wanted:
            storage[:] = np.frombuffer(self._content[start:end], storage.dtype)
