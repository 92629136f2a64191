"""Reads PyTorch `.pth` files without PyTorch, and without executing anything in them.

Two forms exist: the zip archive of PyTorch 1.6 and later, with one member per storage, and the
older stream of pickles followed by raw storages. Every announced size is held against the size of
the file before memory is taken, so a damaged or hostile file costs no more than its own length,
and every fault is a `CheckpointError` that names the file and the part of it.
"""

import io
import mmap
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from albef_jax.checkpoints import torch_pickle

_ZIP_START = b"PK\x03\x04"
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_VERSION = 1001


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not hold what it should."""


def read(path: str | Path) -> dict:
    """Everything in a `.pth` file: the saved dictionary, its tensors as read-only numpy arrays.

    Tensors that share a storage share memory. `argparse.Namespace` objects come back as
    `torch_globals.Inert`.

    Raises:
        CheckpointError: damaged, big-endian, compressed, or using a name that is not allowed.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(len(_ZIP_START))
        with _errors_named(path, "the file"):
            if sys.byteorder != "little":
                raise ValueError("this reader needs a little-endian machine")
            if len(start) < len(_ZIP_START):
                raise ValueError("too short for a PyTorch checkpoint")
        value = _read_zip(path) if start == _ZIP_START else _read_stream(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not a dictionary")
    return value


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The named tensors of a `.pth` file, taken out of `{"model": ...}` where they are in one.

    Raises:
        CheckpointError: as `read`, or an entry is not a tensor.
    """
    content = read(path)
    state = content.get("model", content)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: its `model` is a {type(state).__name__}, no state dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise CheckpointError(
                f"{path}: {str(name)[:80]!r} is a {type(value).__name__}, not a tensor: no state "
                "dict, neither the file nor its `model`"
            )
    return cast(dict[str, np.ndarray], state)


@contextmanager
def _errors_named(path: Path, part: str) -> Iterator[None]:
    """Turns whatever hostile bytes provoke into a `CheckpointError` naming the file and part."""
    try:
        yield
    except CheckpointError:
        raise
    except (
        *(ValueError, KeyError, EOFError, OSError, OverflowError, RuntimeError, struct.error),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise CheckpointError(f"{path}: {part}: {error}") from error


def _read_zip(path: Path) -> object:
    with _errors_named(path, "the zip archive"), zipfile.ZipFile(path) as archive:
        return _Archive(path, archive).read()


class _Archive:
    """The zip form: `<root>/data.pkl`, `<root>/byteorder`, and `<root>/data/<key>`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path = path
        self._archive = archive
        self._storages: dict[str, np.ndarray] = {}
        self._check_members()
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members end in /data.pkl; a checkpoint has one")
        self._root = pickles[0].removesuffix("data.pkl")

    def read(self) -> object:
        if f"{self._root}byteorder" in self._archive.namelist():
            order = self._bytes("byteorder")
            if order != b"little":
                raise ValueError(f"byte order {order[:16]!r}; save it on a little-endian machine")
        pickle = self._bytes("data.pkl")
        with _errors_named(self._path, f"{self._root}data.pkl"):
            return torch_pickle.load(io.BytesIO(pickle), self._storage)

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
        if key not in self._storages:
            content = self._bytes(f"data/{key}")
            if len(content) != numel * dtype.itemsize:
                raise CheckpointError(
                    f"{self._path}: {self._root}data/{key}: {len(content)} bytes, but announced as "
                    f"{numel} elements of {dtype}"
                )
            self._storages[key] = np.frombuffer(content, dtype)
        return _same_storage(self._storages[key], key, dtype, numel)


def _same_storage(storage: np.ndarray, key: str, dtype: np.dtype, numel: int) -> np.ndarray:
    if storage.dtype != dtype or storage.size != numel:
        raise ValueError(f"storage {key} is announced with two types or sizes")
    return storage


def _read_stream(path: Path) -> object:
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        return _Stream(path, content).read()


class _Stream:
    """The stream form: magic, version, system, object, storage keys; then each storage.

    Storages come after the tensors that view them, so they are set aside empty and filled last.
    """

    def __init__(self, path: Path, content: mmap.mmap):
        self._path = path
        self._content = content
        self._left = len(content)
        self._storages: dict[str, np.ndarray] = {}

    def read(self) -> object:
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
            if sorted(keys) != sorted(self._storages):
                raise ValueError("not the keys of the storages that tensors use")
        for key in keys:
            with _errors_named(self._path, f"stream storage {key}"):
                self._fill(self._storages[key])
        return value

    def _pickle(self) -> object:
        return torch_pickle.load(self._content, self._storage)

    def _check_header(self, version: object, system: object) -> None:
        if type(version) is not int or version != _STREAM_VERSION:
            raise ValueError(f"not version {_STREAM_VERSION} of the stream form")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("big-endian; save it on a little-endian machine")

    def _storage(self, key: str, dtype: np.dtype, numel: int) -> np.ndarray:
        if key not in self._storages:
            self._left -= numel * dtype.itemsize
            if self._left < 0:
                raise ValueError(f"storage {key[:80]} of {numel} {dtype} is larger than the file")
            self._storages[key] = np.empty(numel, dtype)
        return _same_storage(self._storages[key], key, dtype, numel)

    def _fill(self, storage: np.ndarray) -> None:
        header = self._content.read(8)
        if len(header) < 8 or int.from_bytes(header, "little") != storage.size:
            raise ValueError(f"does not announce the {storage.size} elements that tensors need")
        content = self._content.read(storage.nbytes)
        if len(content) != storage.nbytes:
            raise ValueError(f"cut short: {len(content)} of {storage.nbytes} bytes")
        storage[:] = np.frombuffer(content, storage.dtype)
