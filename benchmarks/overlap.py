"""What devices say to each other in a compiled step, and what they compute meanwhile.

In a program with a schedule, a message is sent between a `start` and a `done`; the kernels between
the two run beside it.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from benchmarks.collectives import KINDS
from benchmarks.devices import Device
from benchmarks.hlo import Computation, Instruction, Program
from benchmarks.loops import trips
from benchmarks.roofline import run_by

_SYNCHRONOUS = re.compile(r'"is_sync":\s*true')


@dataclass(frozen=True)
class Message:
    """One collective.

    Attributes:
        dtypes: of what it brings.
        bytes: that each device holds afterwards, all its runs in a step together.
        kernels, seconds: of the work beside it, by the lower bound; in all its runs.
    """

    kind: str
    name: str
    dtypes: tuple[str, ...]
    bytes: int
    times: int
    kernels: int
    seconds: float


def _kind(program: Program, instruction: Instruction) -> str | None:
    """Which collective an instruction begins, or is."""
    names = [instruction.opcode.removesuffix("-start")]
    if instruction.opcode == "async-start":
        wrapped = program.inside(instruction)
        names = [one.opcode for one in wrapped.values()]
    return next((name for name in names if name in KINDS), None)


def _done(body: Computation, start: Instruction) -> Instruction | None:
    """What ends it: the last of a chain of updates."""
    found = None
    names = {start.name}
    for one in body.values():
        if names.intersection(one.operands) and one.opcode.endswith(("-done", "-update")):
            names.add(one.name)
            found = one
    return found


def _message(
    program: Program, body: Computation, start: Instruction, times: int, device: Device
) -> Message | None:
    kind = _kind(program, start)
    if kind is None:
        return None
    done = _done(body, start) if start.opcode.endswith("-start") else None
    work = []
    if done and not _SYNCHRONOUS.search(start.attributes):
        order = list(body)
        for name in order[order.index(start.name) + 1 : order.index(done.name)]:
            work += run_by(program, body, body[name], times, device)
    brought = done or start
    return Message(
        kind,
        start.name,
        tuple(sorted({array.dtype for array in brought.arrays})),
        sum(array.size for array in brought.arrays) * times,
        times,
        sum(kernel.times for kernel in work),
        sum(kernel.seconds for kernel in work),
    )


def messages(program: Program, device: Device) -> list[Message]:
    """All collectives of a step, the largest first."""
    found: list[Message] = []

    def walk(name: str, times: int) -> None:
        body = program.computations[name]
        for one in body.values():
            if message := _message(program, body, one, times, device):
                found.append(message)
            elif one.opcode == "while" and (inside := one.called("body")):
                walk(inside, times * (trips(program, body, one) or 1))
            elif one.opcode == "call" and (inside := one.called("to_apply")):
                walk(inside, times)

    walk(program.entry, 1)
    return sorted(found, key=lambda message: -message.bytes)


def summary(found: list[Message]) -> list[dict[str, Any]]:
    """Of each kind and type: how many, MB, and MB of those that have kernels beside them."""
    groups: dict[tuple[str, tuple[str, ...]], list[Message]] = defaultdict(list)
    for message in found:
        groups[message.kind, message.dtypes].append(message)
    return [
        {
            "kind": kind,
            "dtypes": list(dtypes),
            "times": sum(one.times for one in group),
            "mb": round(sum(one.bytes for one in group) / 1e6, 3),
            "mb_beside_kernels": round(sum(one.bytes for one in group if one.kernels) / 1e6, 3),
            "ms_of_kernels_beside": round(1e3 * sum(one.seconds for one in group), 3),
        }
        for (kind, dtypes), group in groups.items()
    ]
