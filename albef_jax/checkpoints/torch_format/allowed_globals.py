"""The few names that a PyTorch checkpoint may use, and our functions for them.

A name from a file is never imported: it is looked up in a table of our own functions, which check
every number, then build numpy views or inert objects. Errors are `ValueError`; `reader`
adds the file and the member.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

MAX_DIMENSIONS = 32
_NUMBERS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
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


@dataclass
class Inert:
    """An object as data: the name of its class, its arguments, and its attributes."""

    name: str
    state: object = None
    arguments: tuple = ()


@dataclass(frozen=True)
class Function:
    """A name from the file, and our own function in place of it."""

    name: str
    call: Callable[..., object]


def lookup(name: str) -> Function | np.dtype:
    """Our substitute for the global `name` (`module attribute`): a function or an element type.

    Raises:
        ValueError: any name that is not in the table.
    """
    module, _, attribute = name.partition(" ")
    if module == "torch" and attribute in STORAGE_TYPES:
        return STORAGE_TYPES[attribute]
    if name not in _FUNCTIONS:
        raise ValueError(
            f"refusing the global {module[:80]}.{attribute[:80]}: only tensors and plain "
            "containers are read. If you trust the file's origin, save its state dict alone"
        )
    return Function(name, _FUNCTIONS[name])


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> np.ndarray:
    """The read-only view that `torch._utils._rebuild_tensor` describes, within its storage."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise ValueError("a tensor without a storage")
    _check_natural((offset,), size, stride)
    if len(size) != len(stride):
        raise ValueError(f"a tensor with {len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return np.empty(size, storage.dtype)
    # the stride of an axis of length 1 is never used and may be anything
    steps = [s if n > 1 else 1 for n, s in zip(size, stride, strict=True)]
    last = offset + sum((n - 1) * s for n, s in zip(size, steps, strict=True))
    if last >= storage.size or math.prod(size) > storage.size:
        raise ValueError(
            f"a tensor of size {size}, stride {stride}, offset {offset} does not fit its storage "
            f"of {storage.size} elements (save expanded tensors with .contiguous())"
        )
    strides = [s * storage.itemsize for s in steps]
    # read-only, since tied weights share memory
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _check_natural(*groups: object) -> None:
    for group in groups:
        if not isinstance(group, tuple) or len(group) > MAX_DIMENSIONS:
            raise ValueError("a tensor whose size or stride is not a short tuple")
        if any(type(n) is not int or n < 0 for n in group):
            raise ValueError("a tensor whose size, stride or offset is not a natural number")


def _first(value: object, *_: object) -> object:
    return value


def _inert(name: str) -> Callable[..., Inert]:
    return lambda *arguments: Inert(name, arguments=arguments)


def _latin1(text: object, encoding: object) -> bytes:
    """Bytes, which older pickles write as text."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError("bytes in another form than pickle's own")
    return text.encode("latin1")


def _scalar(dtype: object, data: object = b"") -> object:
    """The number that a NumPy scalar holds; one of an unusual type stays inert."""
    kind = dtype.arguments[:1] if isinstance(dtype, Inert) else ()
    order = dtype.state[1:2] if isinstance(dtype, Inert) and type(dtype.state) is tuple else ()
    if kind and kind[0] in _NUMBERS and order in ((), ("<",), ("|",)) and type(data) is bytes:
        number = np.dtype(f"<{kind[0]}")
        if len(data) == number.itemsize:
            return np.frombuffer(data, number)[0].item()
    return Inert("numpy.scalar", arguments=(dtype, data))


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "collections OrderedDict": lambda: OrderedDict(),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _first,
    "torch Size": _first,
    "argparse Namespace": lambda: Inert("argparse.Namespace"),
    "collections defaultdict": lambda *_: {},
    "collections Counter": lambda counts=None: {} if counts is None else counts,
    "numpy dtype": _inert("numpy.dtype"),
    "numpy ndarray": _inert("numpy.ndarray"),
    "_codecs encode": _latin1,
    "__builtin__ bytes": lambda: b"",
    "torch device": _inert("torch.device"),
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _FUNCTIONS[f"{_module} scalar"] = _scalar
    _FUNCTIONS[f"{_module} _reconstruct"] = _inert("numpy.ndarray")
for _kind in ("list", "dict", "set", "int", "float", "str"):
    _FUNCTIONS |= dict.fromkeys((f"__builtin__ {_kind}", f"builtins {_kind}"), _inert(_kind))
for _kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
    _FUNCTIONS[f"pathlib {_kind}"] = _inert(f"pathlib.{_kind}")
