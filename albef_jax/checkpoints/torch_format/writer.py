"""Writes PyTorch `.pth` files without PyTorch: the zip form that its own `torch.save` makes.

The pickle is written operation by operation, with the few names that a state dict needs. Tensors go
into the archive one by one, uncompressed and aligned, so that no copy is in memory; the same state
gives the same bytes.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from albef_jax.checkpoints.torch_format.allowed_globals import STORAGE_TYPES
from albef_jax.errors import CheckpointError

_ROOT = "archive"
_ALIGNMENT = 64
_BLOCK = 16 * 2**20  # bytes in one write
_STORAGES = {dtype: name for name, dtype in STORAGE_TYPES.items()}
_EMPTY_TUPLE, _REDUCE, _MARK, _TUPLE, _SET_ITEMS = b")", b"R", b"(", b"t", b"u"

Plain = int | float | str | Mapping[str, "Plain"]


def write_pth(
    path: str | Path, state: Mapping[str, np.ndarray], beside: Mapping[str, Plain]
) -> None:
    """Write `{"model": state, **beside}`, replacing an existing file.

    Arrays of the same memory share a storage, as tied weights do in PyTorch's own files.

    Raises:
        CheckpointError: an element type that PyTorch has no storage for.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    keys = _storage_keys(arrays)
    entries = {"model": _state_dict(arrays, keys)}
    entries |= {name: _plain(value) for name, value in beside.items()}
    with Path(path).open("wb") as file, zipfile.ZipFile(file, "w") as archive:

        def add(name: str, content: bytes | memoryview) -> None:
            _add(archive, file.tell(), f"{_ROOT}/{name}", content)

        add("data.pkl", b"\x80\x02" + _dictionary(b"}", entries) + b".")
        add(".format_version", b"1")
        add(".storage_alignment", str(_ALIGNMENT).encode())
        add("byteorder", b"little")
        written = set()
        for name, array in arrays.items():
            if keys[name] not in written:
                written.add(keys[name])
                add(f"data/{keys[name]}", array.reshape(-1).view(np.uint8).data)
        add("version", b"3\n")


def _add(archive: zipfile.ZipFile, start: int, name: str, content: bytes | memoryview) -> None:
    """One member whose content starts at a multiple of the alignment, by a padded header."""
    info = zipfile.ZipInfo(name)  # dated 1980
    info.file_size, info.compress_size, info.CRC = len(content), len(content), 0
    header = start + len(info.FileHeader()) + 4
    info.extra = struct.pack("<2sH", b"FB", padding := -header % _ALIGNMENT) + b"Z" * padding
    with archive.open(info, "w") as member:
        for begin in range(0, len(content), _BLOCK):
            member.write(content[begin : begin + _BLOCK])


def _storage_keys(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """For each name the number of its storage."""
    numbers: dict[object, str] = {}
    keys = {}
    for name, array in arrays.items():
        if array.dtype not in _STORAGES:
            raise CheckpointError(f"{name}: PyTorch has no storage of {array.dtype}")
        place = (array.__array_interface__["data"][0], array.dtype, array.size)
        keys[name] = numbers.setdefault(place if array.size else name, str(len(numbers)))
    return keys


def _state_dict(arrays: Mapping[str, np.ndarray], keys: Mapping[str, str]) -> bytes:
    tensors = {name: _tensor(array, keys[name]) for name, array in arrays.items()}
    return _dictionary(_ordered_dict(), tensors)


def _tensor(array: np.ndarray, key: str) -> bytes:
    """A call of `_rebuild_tensor_v2`: storage, offset, size, stride, no gradient, no hooks."""
    kind = _global("torch", _STORAGES[array.dtype])
    reference = _tuple(_text("storage"), kind, _text(key), _text("cpu"), _number(array.size))
    stride = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    axes = [_tuple(*map(_number, numbers)) for numbers in (array.shape, stride)]
    arguments = _tuple(reference + b"Q", _number(0), *axes, b"\x89", _ordered_dict())
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + _REDUCE


def _plain(value: Plain) -> bytes:
    if isinstance(value, Mapping):
        return _dictionary(b"}", {name: _plain(inner) for name, inner in value.items()})
    if isinstance(value, int):
        return _number(value)
    return b"G" + struct.pack(">d", value) if isinstance(value, float) else _text(value)


def _dictionary(empty: bytes, entries: Mapping[str, bytes]) -> bytes:
    items = [_text(name) + value for name, value in entries.items()]
    return empty + _MARK + b"".join(items) + _SET_ITEMS


def _ordered_dict() -> bytes:
    return _global("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _tuple(*items: bytes) -> bytes:
    return _MARK + b"".join(items) + _TUPLE if items else _EMPTY_TUPLE


def _text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    """The shortest operation: one byte, two, four, or as many as it takes."""
    for operation, form in ((b"K", "<B"), (b"M", "<H"), (b"J", "<i")):
        try:
            return operation + struct.pack(form, value)
        except struct.error:
            continue
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content
