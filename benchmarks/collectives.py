"""What devices say to each other in a compiled step, read from XLA's text of it."""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
TALKS_TO_HOST = ("infeed", "outfeed", "send", "recv", "MoveToHost", "MoveToDevice", "callback")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([\w\-]+)\(")
_LOOP = re.compile(r"body=%?([\w.\-]+)")
_TRIPS = re.compile(r"known_trip_count\D*(\d+)")
_LISTED = re.compile(r"replica_groups=\{\{([\d,{}]*)\}\}")
_RANGE = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_ROWS = re.compile(rf"replica_groups=\[([\d,]+)\]<={_RANGE}")
_AXES = re.compile(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({_RANGE}\))? \{{([^}}]*)\}}")
_ARRAY = re.compile(r"(pred|[a-z]+\d+\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """One kind of message.

    Attributes:
        shapes: of what each device holds afterwards.
        bytes: of these, times how often it is sent in a step.
        times: how often that is.
        groups: devices that exchange it with each other, by their place in the mesh.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    times: int
    groups: tuple[tuple[int, ...], ...] = ()

    def crosses(self, size: int) -> bool:
        """Whether it goes from one to another of the slices of `size` devices."""
        return any(len({device // size for device in group}) > 1 for group in self.groups)


def _size(dtype: str) -> int:
    if dtype == "pred":
        return 1
    return max(1, int(re.search(r"\d+", dtype).group()) // 8)  # type: ignore[union-attr]


def _arrays(result: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, _numbers(dimensions)) for dtype, dimensions in _ARRAY.findall(result)]


def _groups(line: str) -> tuple[tuple[int, ...], ...]:
    """As XLA writes them: one by one, as rows of a range in some order, or along axes of a mesh."""
    if found := _LISTED.search(line):
        return tuple(_numbers(group) for group in found[1].split("},{"))
    if found := _ROWS.search(line):
        rows = _ordered(found[2], found[3]).reshape(_numbers(found[1]))
    elif found := _AXES.search(line):
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
        mesh = _ordered(found[2] or str(np.prod(list(sizes.values()))), found[3])
        along = [list(sizes).index(name) for name in re.findall(r"'(\w+)'", found[4])]
        last = np.moveaxis(mesh.reshape(tuple(sizes.values())), along, range(-len(along), 0))
        rows = last.reshape(-1, int(np.prod([list(sizes.values())[axis] for axis in along])))
    else:
        return ()
    return tuple(tuple(row) for row in rows.tolist())


def _ordered(shape: str, axes: str | None) -> np.ndarray:
    """The numbers from 0, in this shape, with its axes in this order."""
    counted = np.arange(np.prod(_numbers(shape))).reshape(_numbers(shape))
    return counted.transpose(_numbers(axes) if axes else None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)


def _computations(text: str) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            name = header.group(1)
        elif name:
            lines[name].append(line)
    return lines


def _repetitions(computations: dict[str, list[str]]) -> dict[str, int]:
    """How often each computation runs in a step: bodies of loops more than once."""
    inside = {}
    for name, lines in computations.items():
        for line in lines:
            if body := _LOOP.search(line):
                trips = _TRIPS.search(line)
                inside[body.group(1)] = (name, int(trips.group(1)) if trips else 1)

    def times(name: str) -> int:
        if name not in inside:
            return 1
        outer, trips = inside[name]
        return trips * times(outer)

    return {name: times(name) for name in computations}


def collectives(text: str) -> list[Collective]:
    """All messages of a compiled program.

    Args:
        text: `compiled.as_text()`.
    """
    computations = _computations(text)
    repeated = _repetitions(computations)
    found = []
    for name, lines in computations.items():
        for line in lines:
            instruction = _INSTRUCTION.match(line)
            kind = instruction.group(2).removesuffix("-start") if instruction else ""
            if instruction and kind in KINDS:
                arrays = _arrays(instruction.group(1))
                size = sum(_size(dtype) * int(np.prod(shape)) for dtype, shape in arrays)
                shapes = tuple(shape for _, shape in arrays)
                times = repeated[name]
                found.append(Collective(kind, shapes, size * times, times, _groups(line)))
    return found


def sent_between_slices(text: str) -> int:
    """Bytes that each device of a TPU sends to other slices in a step: XLA makes such messages of
    its collectives, and hands them to the hosts."""
    computations = _computations(text)
    repeated = _repetitions(computations)
    total = 0
    for name, lines in computations.items():
        for line in lines:
            instruction = _INSTRUCTION.match(line)
            if instruction and instruction.group(2) == "send" and "megascale" in line:
                (dtype, shape), *_ = _arrays(instruction.group(1))
                total += _size(dtype) * int(np.prod(shape)) * repeated[name]
    return total


def bytes_by_kind(found: list[Collective]) -> dict[str, int]:
    """Bytes that each device receives in a step, by the kind of message."""
    total: dict[str, int] = defaultdict(int)
    for collective in found:
        total[collective.kind] += collective.bytes
    return dict(total)


def host_transfers(text: str) -> list[str]:
    """Instructions that talk to the host in the middle of a step."""
    return [line.strip() for line in text.splitlines() if any(w in line for w in TALKS_TO_HOST)]
