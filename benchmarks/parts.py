"""Which part of the model an instruction of the training step belongs to, and which pass."""

import re

from benchmarks.hlo import Computation, Instruction, Program

PARTS = ("image", "text", "fusion", "head", "loss", "optimizer", "teacher", "other")

# Names of modules, as Flax puts them in front of an operation; and of parameters.
_MODULES = {
    "ImageEncoder": "image",
    "image_encoder": "image",
    "TextEncoder": "text",
    "text_encoder": "text",
    "FusionEncoder": "fusion",
    "FusionLayer": "fusion",
    "fusion_encoder": "fusion",
    "MlmHead": "head",
    "_head": "head",
    "_proj'": "head",
}
_HOMES = {
    "image": r"models/(vit|attention|linear|primitives)\.py$",
    "text": r"models/(bert|attention|linear)\.py$",
    "fusion": r"models/(bert|attention|linear|token_selection)\.py$",
    "head": r"models/albef\.py$",
}
# Files of what stands outside the modules; the innermost frame that one fits counts.
_FILES = tuple(
    (re.compile(pattern), belongs)
    for pattern, belongs in (
        (r"-packages/optax/", "optimizer"),
        (r"albef_jax/train/(optimizer|resilience/nonfinite)\.py$", "optimizer"),
        (r"albef_jax/train/ema\.py$", "teacher"),
        (r"albef_jax/losses/\w+\.py$", "loss"),
        (r"albef_jax/models/albef\.py$", "head"),
        (r"albef_jax/models/(primitives|vit)\.py$", "image"),
        (r"albef_jax/models/(bert|token_selection)\.py$", "fusion"),
        (r"albef_jax/train/step\.py$", "optimizer"),
    )
)
_OF_TEACHER = ("teacher_forward", "update_teacher")
_STEPS = 3  # from an array without a name: through a tuple to the loop that it goes into
_BACKWARD = ("transpose(", "rematted_computation", "checkpoint/")


def _named(instruction: Instruction, body: Computation, program: Program) -> Instruction:
    """Itself, or if XLA made it without a name, what it is made of, goes to, or comes from."""
    inner = program.inside(instruction)
    own = (instruction, *sorted(inner.values(), key=lambda one: not one.root))
    found = next((one for one in own if _says(one)), None)
    return found or _nearest(instruction, body, users=True) or _nearest(instruction, body) or own[0]


def _says(instruction: Instruction) -> bool:
    return bool(instruction.text("op_name")) and instruction.opcode != "parameter"


def _nearest(start: Instruction, body: Computation, users: bool = False) -> Instruction | None:
    """The closest instruction with a name among those that read it, or that it reads."""
    here = [start]
    for _ in range(_STEPS):
        if users:
            here = [user for one in here for user in body.users[one.name]]
        else:
            here = [body[name] for one in here for name in one.operands if name in body]
        if found := next((one for one in here if _says(one)), None):
            return found
        here = list({one.name: one for one in here}.values())
    return None


def _module(name: str) -> str:
    """The part whose module an operation's name has in it; empty where none."""
    return next((part for mark, part in _MODULES.items() if mark in name), "")


def part(program: Program, body: Computation, instruction: Instruction) -> tuple[str, str]:
    """One of `PARTS`, and `forward` or `backward`.

    The teacher is a part of its own whatever its tower; recomputed layers count as backward. A
    kernel that XLA fused from several parts belongs to the one that it is named after.

    Args:
        body: the computation that the instruction stands in.
    """
    instruction = _named(instruction, body, program)
    name = instruction.text("op_name")
    stack = program.stack(instruction)
    phase = "backward" if any(mark in name for mark in _BACKWARD) else "forward"
    if "opt_state" in name:
        return "optimizer", phase
    if any(frame.function in _OF_TEACHER for frame in stack):
        return "teacher", phase
    module = _module(name)
    if module:
        students = "jvp(" in name or name.startswith("state.params")
        return (module if students else "teacher"), phase
    for frame in stack:
        for file, belongs in _FILES:
            if file.search(frame.file):
                return belongs, phase
    return "other", phase


def source(program: Program, body: Computation, instruction: Instruction) -> str:
    """Where an instruction comes from, `file:line`; empty where unknown."""
    named = _named(instruction, body, program)
    return program.source(named, _HOMES.get(_module(named.text("op_name")), ""))
