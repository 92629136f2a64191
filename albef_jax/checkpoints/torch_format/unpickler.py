"""The pickle dialect of PyTorch checkpoints, read as data.

A pickle is a program for a small stack machine, and Python's own machine lets it call anything.
This one knows only the operations that tensors, numbers, texts and containers need, and the names
in `allowed_globals`; it refuses everything else. Errors here are `ValueError`;
`reader` adds the file and the member.
"""

import io
import mmap
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from albef_jax.checkpoints.torch_format.allowed_globals import Function, Inert, lookup

MAX_OPERATIONS = 2_000_000  # an official checkpoint has about 50 thousand; bounds time and memory
MAX_NESTING = 64  # so that recursion over the result is safe
MAX_ARGUMENTS = 16
ByteSource = io.BytesIO | mmap.mmap  # neither allocates more than the file holds
# (key in the file, element type, number of elements) -> flat array [numel]
StorageLoader = Callable[[str, np.dtype, int], np.ndarray]


def load(file: ByteSource, load_storage: StorageLoader) -> object:
    """Reads the one pickle that starts at the position of `file`, and stops after it.

    Args:
        file: a source positioned on the first byte of a pickle.
        load_storage: returns the flat array behind tensors; tensors are views of it.

    Raises:
        ValueError: damaged, too large, or not plain data.
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
        return [value.state, value.arguments]
    return value if isinstance(value, tuple | list) else []


def _is_key(value: object) -> bool:
    """Only flat tuples, since Python hashes nested ones without a limit of depth."""
    parts = value if type(value) is tuple else (value,)
    return all(type(part) in (str, int, float, bool, type(None)) for part in parts)


def _read_global(file: ByteSource) -> str:
    """`module attribute`, as written: Python's own reader decodes escapes and warns of others."""
    lines = [file.readline(), file.readline()]
    if not all(line.endswith(b"\n") for line in lines):
        raise ValueError("a global cut short")
    return " ".join(line[:-1].decode("ascii") for line in lines)


class _Machine:
    """A stack, the stacks below each mark, and the memo of things named for reuse."""

    def __init__(self, file: ByteSource, load_storage: StorageLoader):
        self._file = file
        self._load_storage = load_storage
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MAX_OPERATIONS):
            at = self._file.tell()
            operation = _OPERATIONS.get(self._file.read(1))
            if operation is None:
                raise ValueError(f"no pickle operation at byte {at}: cut short or damaged")
            try:
                if operation.name == "STOP":
                    return self._stack.pop()
                self._step(operation)
            except (IndexError, KeyError, TypeError, OverflowError) as error:
                raise ValueError(
                    f"damaged pickle: {operation.name} at byte {at} cannot be done ({error!r})"
                ) from error
        raise ValueError(f"more than {MAX_OPERATIONS} pickle operations")

    def _step(self, operation: pickletools.OpcodeInfo) -> None:
        action = _ACTIONS.get(operation.name)
        if action is None:
            raise ValueError(f"refusing the pickle operation {operation.name}: not plain data")
        # read only now, since the readers of some other operations are slow on hostile input
        source: Any = self._file
        reader = (
            _read_global if operation.name == "GLOBAL" else operation.arg and operation.arg.reader
        )
        action(self, reader(source) if reader else None)

    def push(self, value: object) -> None:
        self._stack.append(value)

    def last(self, n: int) -> list[Any]:
        return [self._stack.pop() for _ in range(n)][::-1]

    def mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("not a list")
        self._stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(items) % 2:
            raise TypeError("not a dictionary, or a key without a value")
        if not all(_is_key(key) for key in items[::2]):
            raise TypeError("a key that is no text, no number and no flat tuple of them")
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def put(self, index: int | None) -> None:
        # protocol 4 counts by itself
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def find(self, name: str | None) -> None:
        if name is None:  # protocol 4 leaves module and attribute on the stack
            parts = self.last(2)
            if any(type(part) is not str for part in parts):
                raise TypeError("a global whose name is not a text")
            name = " ".join(parts)
        self._stack.append(lookup(name))

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise TypeError("a call of something that is no function")
        if len(arguments) > MAX_ARGUMENTS:
            raise TypeError(f"{len(arguments)} arguments")
        self._stack.append(function.call(*arguments))

    def build(self) -> None:
        (state,) = self.last(1)
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, OrderedDict):  # whose attributes, module versions, go unused
            raise TypeError("attributes for something that has none")

    def storage(self) -> None:
        (reference,) = self.last(1)
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise TypeError("not a reference to a storage")
        kind, dtype, key, _location, numel, *view = reference
        if kind != "storage" or not isinstance(dtype, np.dtype) or type(key) is not str:
            raise TypeError("not a reference to a storage")
        if type(numel) is not int or numel < 0 or view not in ([], [None]):
            raise TypeError("a storage of no plain size, or a view from before PyTorch 0.4")
        self._stack.append(self._load_storage(key, dtype, numel))


_OPERATIONS = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
)
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_VALUES, _Machine.push),
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.extend(machine.last(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.find,
    "STACK_GLOBAL": _Machine.find,
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
}
