"""The table of a start from a checkpoint: the outcome for every module."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Status = Literal["loaded", "resized", "new", "unused"]


@dataclass(frozen=True)
class ModuleOrigin:
    """The outcome for one module.

    Attributes:
        part: `student`, `teacher` or `queues`.
        path: of the module in our trees, such as `image_encoder/blocks/qkv`.
        status: `unused` modules are the checkpoint's, all others the model's.
        tensors: arrays in it; a stack of layers is one.
        parameters: numbers in it.
        note: the reason or the origin; may be empty.
    """

    part: str
    path: str
    status: Status
    tensors: int
    parameters: int
    note: str = ""

    @staticmethod
    def of(
        part: str, path: str, status: Status, arrays: Mapping[str, Any], note: str
    ) -> "ModuleOrigin":
        """The row of a module with these arrays."""
        sizes = [int(np.prod(np.shape(array))) for array in arrays.values()]
        return ModuleOrigin(part, path, status, len(sizes), sum(sizes), note)


def format_table(rows: Iterable[ModuleOrigin]) -> str:
    """The table as text: a line for each part of the model.

    Modules that were not simply loaded have their own lines, unless a whole part, or the whole
    student, teacher or queues, has one reason.
    """
    lines: list[tuple[str, str]] = []
    for name, group in _grouped(rows, lambda row: row.part).items():
        model = [row for row in group if row.status != "unused"]
        if model:
            lines.append((name, _summary(model)))
            lines += _parts(model)
        if unused := [row for row in group if row.status == "unused"]:
            why = {row.note for row in unused}
            kept = {_part(row.path) for row in model if row.status != "new"}
            names = [row.path if _part(row.path) in kept else _part(row.path) for row in unused]
            lines.append((f"{name} of the checkpoint", _summary(unused)))
            told = why.pop() if len(why) == 1 and all(why) else ", ".join(dict.fromkeys(names))
            lines.append((f"  {told}", ""))
    width = max((len(label) for label, text in lines if text), default=0)
    return "\n".join(f"{label:<{width}}  {text}".rstrip() for label, text in lines)


def _grouped(
    rows: Iterable[ModuleOrigin], name: Callable[[ModuleOrigin], str]
) -> dict[str, list[ModuleOrigin]]:
    groups: dict[str, list[ModuleOrigin]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return groups


def _part(path: str) -> str:
    """Those of the answer decoder start from different modules, so each counts."""
    keys = path.split("/")
    return "/".join(keys[: 2 if keys[0] == "answer_decoder" else 1])


def _parts(rows: list[ModuleOrigin]) -> list[tuple[str, str]]:
    if _same(rows) and rows[0].note:
        return []
    lines = []
    for name, group in _grouped(rows, lambda row: _part(row.path)).items():
        lines.append((f"  {name}", _summary(group)))
        if not _same(group):
            odd = [row for row in group if row.status != "loaded"]
            lines += [(f"    {row.path}", _summary([row])) for row in odd]
    return lines


def _same(rows: list[ModuleOrigin]) -> bool:
    return len({(row.status, row.note) for row in rows}) == 1


def _summary(rows: list[ModuleOrigin]) -> str:
    """Counts and outcome of these modules."""
    tensors = Counter[str]()
    for row in rows:
        tensors[row.status] += row.tensors
    parameters = _short(sum(row.parameters for row in rows))
    if _same(rows):
        fate = ", ".join(filter(None, (rows[0].status, rows[0].note)))
    else:
        fate = ", ".join(f"{count} {status}" for status, count in tensors.items())
    return f"{tensors.total():>4} tensors {parameters:>8}  {fate}"


def _short(number: int) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return str(number)
