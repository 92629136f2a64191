"""The text of a program that XLA has optimised, as computations and instructions.

Reads what `compiled.as_text()` gives, for GPU, TPU and CPU alike, and what its tables say of source
lines. Needs no jax.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
_ROW = re.compile(r"^(\d+) (.*)$")
_FIELD = re.compile(r"(\w+)=(\d+)")
_PROJECT = re.compile(r"^(?:.*/)?((?:albef_jax|benchmarks)(?:/\w+)*/\w+\.py)$")


@dataclass(frozen=True)
class Array:
    """A type and a shape.

    Attributes:
        space: where it lies: 0 is the device's memory, others are on the chip.
    """

    dtype: str
    shape: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Of one of them: a truth value is kept in a byte."""
        return 8 if self.dtype == "pred" else int(re.findall(r"\d+", self.dtype)[0])

    @property
    def size(self) -> int:
        """Bytes, without padding, wherever it lies."""
        return math.ceil(self.elements * self.bits / 8)

    @property
    def bytes(self) -> int:
        """What it takes of the device's memory; nothing on the chip."""
        return 0 if self.space else self.size


def arrays(result: str) -> tuple[Array, ...]:
    """The arrays of a type as XLA writes it; several of a tuple, none of a token."""
    found = []
    for dtype, shape, layout in _ARRAY.findall(result):
        space = _SPACE.search(layout)
        sides = tuple(int(n) for n in shape.split(",") if n)
        found.append(Array(dtype, sides, int(space.group(1)) if space else 0))
    return tuple(found)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        result: its type.
        literal: what stands in its parentheses.
        attributes: what stands behind them.
    """

    name: str
    opcode: str
    result: str
    literal: str
    attributes: str
    root: bool

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """Of the result."""
        return arrays(self.result)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the instructions that it reads."""
        return tuple(_OPERAND.findall(self.literal))

    @property
    def bytes(self) -> int:
        """Of the whole result."""
        return sum(array.bytes for array in self.arrays)

    def called(self, *names: str) -> str | None:
        """The computation that one of these attributes names."""
        for name in names:
            if found := re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes):
                return found.group(1)
        return None

    def numbers(self, name: str) -> tuple[int, ...]:
        """Numbers in the braces of an attribute, as of `lhs_contracting_dims={1}`."""
        found = re.search(rf'\b{name}"?[=:]\s*[{{\[]([\d,"\s]*)[}}\]]', self.attributes)
        return tuple(int(n) for n in re.findall(r"\d+", found.group(1))) if found else ()

    def text(self, name: str) -> str:
        """The quoted text of an attribute; empty where there is none."""
        found = re.search(rf'\b{name}="((?:[^"\\]|\\.)*)"', self.attributes)
        return found.group(1) if found else ""


class Computation(dict[str, Instruction]):
    """Instructions by name, in the order of the schedule."""

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """What reads each of them."""
        found: dict[str, list[Instruction]] = {name: [] for name in self}
        for instruction in self.values():
            for operand in dict.fromkeys(instruction.operands):
                found.setdefault(operand, []).append(instruction)
        return found


@dataclass(frozen=True)
class Frame:
    """Where in the source an instruction comes from, and which frame called it."""

    file: str
    function: str
    line: int
    parent: int


@dataclass(frozen=True)
class Program:
    """A whole module.

    Attributes:
        computations: by name.
        entry: the name of the one that runs.
        frames: by the `stack_frame_id` of an instruction.
    """

    computations: dict[str, Computation]
    entry: str
    frames: dict[int, Frame]

    def inside(self, instruction: Instruction) -> Computation:
        """What an instruction `calls`, as a fusion does; empty if nothing."""
        return self.computations.get(instruction.called("calls") or "", Computation())

    def stack(self, instruction: Instruction) -> list[Frame]:
        """Frames of an instruction, the innermost first."""
        found = re.search(r"stack_frame_id=(\d+)", instruction.attributes)
        frames = []
        number = int(found.group(1)) if found else 0
        while number in self.frames:
            frames.append(self.frames[number])
            number = self.frames[number].parent
        return frames

    def source(self, instruction: Instruction, prefer: str = "") -> str:
        """`file:line`, the innermost of this project if there is one; empty where unknown.

        Args:
            prefer: file name pattern of frames to take if there are any. JAX traces its helpers
                once, and the frames of the first caller then stand in front of those of others.
        """
        where = [(frame.file, frame.line) for frame in self.stack(instruction)]
        if file := instruction.text("source_file"):
            line = re.search(r"source_line=(\d+)", instruction.attributes)
            where.append((file, int(line.group(1)) if line else 0))
        inside = [
            (found.group(1), line) for file, line in where if (found := _PROJECT.search(file))
        ]
        wanted = [(file, line) for file, line in inside if prefer and re.search(prefer, file)]
        outside = [(file.rpartition("/")[2], line) for file, line in where]
        return next((f"{file}:{line}" for file, line in (*wanted, *inside, *outside)), "")


def _close(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"a parenthesis does not close: {text[:80]}")


def _instruction(line: str) -> Instruction | None:
    named = _NAME.match(line)
    if not named:
        return None
    rest = line[named.end() :]
    end = _close(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    opcode = _OPCODE.match(rest, end)
    if end < 0 or not opcode:
        return None
    last = _close(rest, opcode.end() - 1)
    return Instruction(
        name=named.group(2),
        opcode=opcode.group(1),
        result=rest[:end],
        literal=rest[opcode.end() : last],
        attributes=rest[last + 1 :],
        root=named.group(1) is not None,
    )


def _frames(tables: dict[str, dict[int, str]]) -> dict[int, Frame]:
    """The tables of source lines, joined."""
    rows = {
        number: dict(_FIELD.findall(row)) for number, row in tables.get("StackFrames", {}).items()
    }
    if not rows:
        return {}
    # The first frame has no parent; some versions write parents one too high, none as 1.
    none = int(rows[min(rows)].get("parent_frame_id", 0))
    frames = {}
    for number, row in rows.items():
        place = dict(_FIELD.findall(tables["FileLocations"][int(row["file_location_id"])]))
        frames[number] = Frame(
            file=tables["FileNames"][int(place["file_name_id"])].strip('"'),
            function=tables["FunctionNames"][int(place["function_name_id"])].strip('"'),
            line=int(place["line"]),
            parent=int(row.get("parent_frame_id", 0)) - none,
        )
    return frames


def parse(text: str) -> Program:
    """Read a program.

    Args:
        text: `compiled.as_text()`.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    tables: dict[str, dict[int, str]] = {}
    entry, inside, table = "", None, None
    for line in text.splitlines():
        if line in _TABLES:
            table = tables.setdefault(line, {})
        elif header := _HEADER.match(line):
            inside, table = computations.setdefault(header.group(2), Computation()), None
            entry = header.group(2) if header.group(1) else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (read := _instruction(line)):
            inside[read.name] = read
        elif table is not None and (row := _ROW.match(line)):
            table[int(row.group(1))] = row.group(2)
    if not entry:
        raise ValueError("this is no program of XLA: it has no line that starts with ENTRY")
    return Program(computations, entry, _frames(tables))
