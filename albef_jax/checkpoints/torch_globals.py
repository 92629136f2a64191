"""The few names a PyTorch checkpoint may use, and what stands for them here.

A name from a file is never imported: it is looked up in a table of our own functions, which build
numpy views, or inert objects, after checking every number. Errors are `ValueError`; `torch_file`
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


@dataclass
class Inert:
    """An object of a class that is kept by name only, such as `argparse.Namespace`."""

    name: str
    state: object = None


@dataclass(frozen=True)
class Function:
    """A name from the file, and our own function that stands for calling it."""

    name: str
    call: Callable[..., object]


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


def lookup(name: str) -> object:
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
    return Function(name, _GLOBALS[name])


