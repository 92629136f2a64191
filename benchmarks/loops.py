"""How often a loop of a compiled program runs."""

import re

from benchmarks.hlo import Computation, Instruction, Program


def trips(program: Program, body: Computation, loop: Instruction) -> int | None:
    """As XLA says, or else as its condition does; None where neither tells.

    Args:
        body: the computation that the loop stands in.
    """
    found = re.search(r"known_trip_count\D*(\d+)", loop.attributes)
    return int(found.group(1)) if found else _counted(program, body, loop)


def _number(computation: Computation, name: str) -> int | None:
    """A constant, through copies."""
    one = computation[name]
    while one.opcode in ("copy", "bitcast"):
        one = computation[one.operands[0]]
    return int(one.literal) if one.opcode == "constant" and one.literal.isdigit() else None


def _counted(program: Program, body: Computation, loop: Instruction) -> int | None:
    """Of a loop whose condition is that a counter, one more each time, is below a number."""
    condition = program.computations[loop.called("condition") or ""]
    inside = program.computations[loop.called("body") or ""]
    test = next(one for one in condition.values() if one.root)
    if test.opcode != "compare" or "direction=LT" not in test.attributes:
        return None
    counter, limit = condition[test.operands[0]], _number(condition, test.operands[1])
    place = re.search(r"\bindex=(\d+)", counter.attributes)
    start = body[loop.operands[0]]
    result = next(one for one in inside.values() if one.root)
    if limit is None or not place or (start.opcode, result.opcode) != ("tuple", "tuple"):
        return None
    index = int(place.group(1))
    first, next_ = _number(body, start.operands[index]), inside[result.operands[index]]
    steps = [_number(inside, name) for name in next_.operands]
    return limit - first if first is not None and next_.opcode == "add" and 1 in steps else None
