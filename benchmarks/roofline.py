"""Where the time of a compiled step must go: a lower bound from the program's text alone.

Each kernel takes at least its operations at the speed that products reach, or its bytes at the
speed that memory reaches, whichever is longer, and a launch; loops count as often as they run. Real
kernels reach 60 to 90 % of that, so pairs a second that follow from it are an upper bound.
Copies that run beside other kernels, as of TPUs, take memory's time and no other's. Collectives are
not kernels; `benchmarks.overlap` tells of them.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.collectives import KINDS
from benchmarks.devices import Device
from benchmarks.hlo import Computation, Instruction, Program
from benchmarks.loops import trips
from benchmarks.parts import part, source
from benchmarks.traffic import moved, products

# No work of the device's, or counted where it starts.
_FREE = {
    *("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "domain"),
    *("partition-id", "replica-id", "opt-barrier", "copy-done", "slice-done", "async-done"),
    *("async-update", "add-dependency", "get-dimension-size"),
}
_BESIDE = ("copy-start", "slice-start")
_WORK = ("fusion", "copy", "scatter", "sort")  # kinds by themselves; others are few
COLLECTIVES = {f"{kind}{end}" for kind in KINDS for end in ("", "-start", "-done")}


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program; figures are of all its runs in a step.

    Attributes:
        kind: `product`, `fusion`, `flash attention`, or XLA's own name of it.
        times: how often it runs in a step.
        seconds: the least that it takes.
        part, phase: of the model, and forward or backward (`benchmarks.parts`).
        source: `file:line`.
        beside: whether it runs beside others.
    """

    name: str
    kind: str
    times: int
    operations: int
    bytes: int
    seconds: float
    part: str
    phase: str
    source: str
    beside: bool

    @property
    def where(self) -> str:
        """Part and pass; the optimizer, the teacher and what is left have no passes."""
        alone = self.part in ("optimizer", "teacher", "other")
        return self.part if alone else f"{self.part} {self.phase}"


def _kind(instruction: Instruction, operations: int) -> str:
    target = instruction.text("custom_call_target")
    if "fmha" in target:
        return "flash attention"
    if operations:
        return "product" if instruction.opcode != "fusion" else "product in a fusion"
    if target:
        return target
    name = instruction.opcode.removesuffix("-start")
    return "copy" if name == "slice" else name if name in _WORK else "elementwise"


def _kernel(
    program: Program, body: Computation, instruction: Instruction, times: int, device: Device
) -> Kernel:
    found = products(program, instruction, body)
    computing = sum(count / device.products_of(dtype) for count, dtype in found)
    operations = sum(count for count, _ in found)
    bytes_ = moved(program, instruction, body)
    where, phase = part(program, body, instruction)
    return Kernel(
        instruction.name,
        _kind(instruction, operations),
        times,
        times * operations,
        times * bytes_,
        times * (max(computing, bytes_ / device.bandwidth) + device.launch),
        where,
        phase,
        source(program, body, instruction),
        instruction.opcode in _BESIDE,
    )


def _called(program: Program, body: Computation, instruction: Instruction) -> list[tuple[str, int]]:
    """Computations that an instruction runs kernel by kernel, and how often."""
    if instruction.opcode == "while":
        inside = instruction.called("body")
        return [(inside, trips(program, body, instruction) or 1)] if inside else []
    if instruction.opcode in ("call", "async-start"):
        name = instruction.called("to_apply", "calls", "called_computations")
        return [(name, 1)] if name else []
    return []


def run_by(
    program: Program, body: Computation, instruction: Instruction, times: int, device: Device
) -> list[Kernel]:
    """The kernels that an instruction runs, all those of the loop if it is one.

    Args:
        body: the computation that it stands in.
        times: how often that runs in a step.
    """
    if instruction.opcode in _FREE or instruction.opcode in COLLECTIVES:
        return []
    if "AllocateBuffer" in instruction.text("custom_call_target"):
        return []
    inner = _called(program, body, instruction)
    if not inner:
        return [_kernel(program, body, instruction, times, device)]
    return [
        kernel
        for name, runs in inner
        for one in program.computations[name].values()
        for kernel in run_by(program, program.computations[name], one, times * runs, device)
    ]


def kernels(program: Program, device: Device) -> list[Kernel]:
    """All kernels of a step. A loop whose length XLA does not know counts once."""
    entry = program.computations[program.entry]
    return [kernel for one in entry.values() for kernel in run_by(program, entry, one, 1, device)]


def least_seconds(found: list[Kernel], device: Device) -> float:
    """What a step takes at least: kernels one after the other, and all bytes at memory's speed."""
    alone = sum(kernel.seconds for kernel in found if not kernel.beside)
    return max(alone, sum(kernel.bytes for kernel in found) / device.bandwidth)


def unknown_loops(program: Program) -> int:
    """Loops of which the text does not say how often they run."""
    return sum(
        one.opcode == "while" and trips(program, body, one) is None
        for body in program.computations.values()
        for one in body.values()
    )


def _sums(group: Iterable[Kernel]) -> dict[str, Any]:
    group = list(group)
    return {
        "kernels": sum(one.times for one in group),
        "gflop": round(sum(one.operations for one in group) / 1e9, 3),
        "gb": round(sum(one.bytes for one in group) / 1e9, 4),
        "ms": round(1e3 * sum(one.seconds for one in group), 4),
    }


def by_kind(found: list[Kernel]) -> dict[str, dict[str, Any]]:
    """Kernels, 10⁹ operations, GB and milliseconds of each kind, the slowest first."""
    groups: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in found:
        groups[kernel.kind].append(kernel)
    sums = {kind: _sums(group) for kind, group in groups.items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1]["ms"]))


def by_part(found: list[Kernel]) -> dict[str, dict[str, Any]]:
    """The same of each part of the model, by pass."""
    groups: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in found:
        groups[kernel.where].append(kernel)
    return {name: _sums(groups[name]) for name in sorted(groups)}


def heaviest(found: list[Kernel], rows: int = 10) -> list[dict[str, Any]]:
    """The kernels that take the longest, with their source lines; those of one line together."""
    alike: dict[tuple[str, ...], list[Kernel]] = defaultdict(list)
    for one in found:
        alike[one.name.rstrip("0123456789."), one.where, one.source].append(one)
    lines = [
        {"kernel": name, "part": where, "source": source, **_sums(group)}
        for (name, where, source), group in alike.items()
    ]
    return sorted(lines, key=lambda line: -line["ms"])[:rows]
