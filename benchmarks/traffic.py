"""How many bytes a kernel moves through a device's memory, and how many operations it does.

Each operand is read once and each result written once; of operands that are only sliced or looked
up in, what is taken; of arrays that are updated in place, the update. Caches are not counted.
"""

import math
import re
from collections.abc import Iterable

from benchmarks import convolutions
from benchmarks.hlo import Array, Computation, Instruction, Program

_SAME = ("bitcast", "reshape")  # no kernel's work
_THROUGH = (*_SAME, "convert", "copy")  # element by element: of a slice of it only a slice is read
_TAKE = ("dynamic-slice", "slice", "gather")
_UPDATES = {"dynamic-update-slice": 1, "scatter": -1}  # which operand has what is written
_GEMM = re.compile(r"matmul|gemm")
_CONVOLUTION = re.compile(r"conv\w*Forward$")
_FLASH = "fmha"
_BYTES = ("s8", "u8")
# Products of flash attention over [queries, keys]: backward computes the scores again.
_FORWARD_PRODUCTS, _BACKWARD_PRODUCTS = 2, 5


def _update(root: Instruction, body: Computation) -> Instruction | None:
    """The update in place that a result of a fusion is; None if it is a new array."""
    while root.opcode in _SAME:
        root = body[root.operands[0]]
    if root.opcode not in _UPDATES:
        return None
    target = body[root.operands[0]]
    while target.opcode in _SAME:
        target = body[target.operands[0]]
    return root if target.opcode == "parameter" else None


def _update_bytes(update: Instruction, body: Computation) -> int:
    """Bytes that an update in place writes and, if it adds to what is there, reads before."""
    what = body[update.operands[_UPDATES[update.opcode]]].arrays[0]
    return 2 * what.size if update.opcode == "scatter" else what.size


def _taken(program: Program, body: Computation, name: str, updates: set[str]) -> float:
    """Elements read of an array; infinite where something reads all of it."""
    elements = 0.0
    for user in body.users[name]:
        first = user.operands[0] == name
        if user.opcode in _TAKE and first:
            elements += user.arrays[0].elements
        elif user.opcode in _THROUGH and not user.root:
            elements += _taken(program, body, user.name, updates)
        elif user.opcode == "fusion":
            elements += _taken_inside(program, user, name)
        elif not (first and user.name in updates):  # what is overwritten is not read
            return math.inf
    return elements


def _taken_inside(program: Program, fusion: Instruction, name: str) -> float:
    """Elements that a fusion inside a fusion reads of an operand."""
    inner = program.inside(fusion)
    places = {str(place) for place, operand in enumerate(fusion.operands) if operand == name}
    inside = (one for one in inner.values() if one.opcode == "parameter")
    return sum(_taken(program, inner, one.name, set()) for one in inside if one.literal in places)


def _fusion_bytes(program: Program, body: Computation) -> int:
    root = next(instruction for instruction in body.values() if instruction.root)
    roots = [body[name] for name in root.operands] if root.opcode == "tuple" else [root]
    updates, total = set(), 0
    for one in roots:
        if update := _update(one, body):
            updates.add(update.name)
            total += min(_update_bytes(update, body), 2 * one.bytes)
        else:
            total += one.bytes
    for parameter in (one for one in body.values() if one.opcode == "parameter"):
        taken = _taken(program, body, parameter.name, updates)
        if math.isinf(taken):
            total += parameter.bytes
        elif parameter.arrays:
            array = parameter.arrays[0]
            total += min(array.bytes, math.ceil(taken * array.bits / 8))
    return total


def moved(program: Program, instruction: Instruction, body: Computation) -> int:
    """Bytes that an instruction reads and writes.

    Args:
        body: the computation that it stands in.
    """
    if instruction.opcode == "fusion":
        inner = program.inside(instruction)
        if inner:
            return _fusion_bytes(program, inner)
    results = _without_scratch(instruction)
    if instruction.opcode in _TAKE:
        return 2 * results
    if instruction.opcode == "copy-start":  # its results are the copy, the original and a mark
        return sum(array.bytes for array in instruction.arrays[:2])
    if instruction.opcode == "slice-start":  # the original, the slice and a mark
        original, taken = instruction.arrays[:2]
        return taken.bytes + (0 if original.space else taken.size)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * body[instruction.operands[1]].bytes
    return results + sum(body[name].bytes for name in instruction.operands if name in body)


def _without_scratch(instruction: Instruction) -> int:
    """Bytes of the results; the last one of a library's call may be its scratch memory."""
    results = instruction.arrays
    if instruction.opcode == "custom-call" and len(results) > 1 and results[-1].dtype in _BYTES:
        results = results[:-1]
    return sum(array.bytes for array in results)


def _product(result: Array, left: Array, contracted: Iterable[int]) -> int:
    """Two operations for each multiply-add."""
    return 2 * result.elements * math.prod(left.shape[axis] for axis in contracted)


def _flash(instruction: Instruction, queries: Array) -> int:
    """Products of fused attention over all queries and keys, masked or not."""
    scores = re.search(r'"intermediate_tensor_shape":.*', instruction.attributes)
    shape = re.findall(r'"dimensions":\s*\[([^\]]*)\]', scores.group() if scores else "")
    if not shape:
        return 0
    batch, heads, rows, columns = (int(n) for n in re.findall(r"\d+", shape[0]))
    width = queries.elements // (batch * heads * rows)
    backward = "Backward" in instruction.text("custom_call_target")
    products = _BACKWARD_PRODUCTS if backward else _FORWARD_PRODUCTS
    return products * 2 * batch * heads * rows * columns * width


def products(
    program: Program, instruction: Instruction, body: Computation
) -> list[tuple[int, str]]:
    """Operations of each matrix product in an instruction, with the type that it multiplies."""
    if instruction.opcode == "fusion":
        inner = program.inside(instruction)
        return [found for one in inner.values() for found in products(program, one, inner)]
    target = instruction.text("custom_call_target")
    known = [body[name].arrays for name in instruction.operands if name in body]
    if len(known) < 2 or not known[0] or not known[1]:
        return []
    left, right = known[0][0], known[1][0]
    if instruction.opcode == "dot":
        contracted = instruction.numbers("lhs_contracting_dims")
        return [(_product(instruction.arrays[0], left, contracted), left.dtype)]
    if instruction.opcode == "convolution" or _CONVOLUTION.search(target):
        return [(convolutions.operations(instruction, left, right), left.dtype)]
    if instruction.opcode == "custom-call" and _GEMM.search(target):
        contracted = instruction.numbers("lhs_contracting_dimensions")
        return [(_product(instruction.arrays[0], left, contracted), left.dtype)]
    if instruction.opcode == "custom-call" and _FLASH in target:
        return [(_flash(instruction, left), left.dtype)]
    return []
