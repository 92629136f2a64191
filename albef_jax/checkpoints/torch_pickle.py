"""The pickle dialect of PyTorch checkpoints, read as data.

A pickle is a program for a small stack machine, and Python's own machine lets it call anything.
This one knows only the operations that tensors, numbers, texts and containers need, and the few
names below; whatever else a file asks for is refused. Nothing from the file is ever imported or
called. Errors here are `ValueError`; `torch_file` adds the file and the member.
"""

import math
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ml_dtypes
import numpy as np

MAX_OPERATIONS = 2_000_000  # a published checkpoint has 15 thousand; bounds time and memory
MAX_NESTING = 64  # so that whoever walks the result may recurse
STORAGE_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_OPERATIONS = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
_NEW: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_IGNORED = {"PROTO", "FRAME"}


class ByteSource(Protocol):
    """What the reader reads from: an `io.BytesIO` or an `mmap`, which never over-allocate."""

    def read(self, n: int, /) -> bytes: ...

    def readline(self) -> bytes: ...

    def tell(self) -> int: ...


@dataclass
class Inert:
    """An object of a class that is kept by name only, such as `argparse.Namespace`."""

    name: str
    args: tuple
    state: object = None


@dataclass(frozen=True)
class _Global:
    """A name from the file, and our own function that stands for calling it."""

    name: str
    call: Callable[..., object]


# (key in the file, element type, number of elements) -> flat array [numel]
StorageLoader = Callable[[str, np.dtype, int], np.ndarray]


def load(file: ByteSource, load_storage: StorageLoader) -> object:
    """Reads the one pickle that starts at the position of `file`, and stops after it.

    Args:
        file: a source positioned on the first byte of a pickle.
        load_storage: hands out the flat array behind tensors; tensors are views of it.

    Raises:
        ValueError: damaged, too large, or asking for anything that is not plain data.
    """
    result = _Machine(file, load_storage).run()
    _nesting(result, {})
    return result


def _nesting(value: object, known: dict[int, int], above: int = 0) -> int:
    """Levels of containers in `value`; `known` holds finished ones, so shared parts count once."""
    if id(value) not in known and above <= MAX_NESTING:
        below = (_nesting(child, known, above + 1) for child in _children(value))
        known[id(value)] = max(below, default=-1) + 1
    if above + known.get(id(value), 0) > MAX_NESTING:
        raise ValueError(f"containers nested more than {MAX_NESTING} deep, or inside themselves")
    return known[id(value)]


def _children(value: object) -> tuple | list:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, Inert):
        return [value.args, value.state]
    return value if isinstance(value, tuple | list) else []


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> np.ndarray:
    """The view that `torch._utils._rebuild_tensor` describes, checked against its storage."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise ValueError("a tensor without a storage")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"tensor with size {size}, stride {stride}, offset {offset}")
    # the stride of an axis of length 1 is never used and may be anything
    stride = [s if n > 1 else 1 for n, s in zip(size, stride, strict=True)]
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) and (last >= storage.size or math.prod(size) > storage.size):
        raise ValueError(
            f"tensor of size {size}, stride {stride}, offset {offset} does not fit its storage of "
            f"{storage.size} elements (save expanded tensors with .contiguous())"
        )
    if not math.prod(size):
        return np.empty(size, storage.dtype)
    steps = [s * storage.itemsize for s in stride]
    view = np.ndarray(tuple(size), storage.dtype, storage.data, offset * storage.itemsize, steps)
    view.flags.writeable = False  # tied weights share memory
    return view


def _parameter(data: object, *_: object) -> object:
    return data


def _size(numbers: tuple = ()) -> tuple:
    return tuple(numbers)


def _namespace(*args: object) -> Inert:
    return Inert("argparse.Namespace", args)


_GLOBALS: dict[str, Callable[..., object]] = {
    "collections OrderedDict": lambda: OrderedDict(),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch Size": _size,
    "argparse Namespace": _namespace,
}


def _lookup(name: str) -> object:
    """What stands for the global `module name`: an element type, or one of our functions."""
    module, _, attribute = name.partition(" ")
    if module == "torch" and attribute in STORAGE_TYPES:
        return STORAGE_TYPES[attribute]
    if name not in _GLOBALS:
        raise ValueError(
            f"refusing the global {module}.{attribute}: only tensors and plain containers are "
            "read. Save the state dict alone; do not open this file with pickle if you do not "
            "know where it comes from"
        )
    return _Global(name, _GLOBALS[name])


class _Machine:
    """The stack machine: one method for each kind of operation."""

    def __init__(self, file: ByteSource, load_storage: StorageLoader):
        self._file = file
        self._load_storage = load_storage
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MAX_OPERATIONS):
            at = self._file.tell()
            operation = _OPERATIONS.get(self._file.read(1))
            if operation is None:
                raise ValueError(f"no pickle operation at byte {at}: cut short or damaged")
            if operation.name == "STOP":
                return self._stack.pop()
            try:
                self._step(operation)
            except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
                text = f"damaged pickle: {operation.name} at byte {at} cannot be done ({error!r})"
                raise ValueError(text) from error
        raise ValueError(f"more than {MAX_OPERATIONS} pickle operations")
