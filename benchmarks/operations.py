"""How many operations a function's matrix products take, counted in what JAX traced.

XLA's own figure counts the body of a loop once, however often it runs.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var


def products(function: Callable, *inputs: Any, turns: int = 0) -> float:
    """Two operations for a multiply-add; nothing is computed.

    Args:
        inputs: arrays, or `jax.ShapeDtypeStruct` of them.
        turns: of each loop whose length is not known before it runs.
    """
    return _of_program(jax.make_jaxpr(function)(*inputs).jaxpr, turns)


def _of_program(program: Jaxpr, turns: int) -> float:
    return sum(_of_step(step, turns) for step in program.eqns)


def _shape(value: Var | Literal) -> tuple[int, ...]:
    return value.aval.shape  # type: ignore[attr-defined]


def _of_step(step: JaxprEqn, turns: int) -> float:
    name, options = step.primitive.name, step.params
    if name == "dot_general":
        left = _shape(step.invars[0])
        summed = math.prod(left[axis] for axis in options["dimension_numbers"][0][0])
        return 2.0 * summed * math.prod(_shape(step.outvars[0]))
    if name == "conv_general_dilated":
        kernel, numbers = _shape(step.invars[1]), options["dimension_numbers"]
        summed = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
        return 2.0 * summed * math.prod(_shape(step.outvars[0]))
    inner = [_of_program(part, turns) for part in _inside(options)]
    if name == "scan":
        return options["length"] * sum(inner)
    if name == "while":
        return turns * sum(inner)
    return max(inner, default=0.0) if name == "cond" else sum(inner)


def _inside(options: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs that a step runs."""
    for option in options.values():
        for part in option if isinstance(option, tuple | list) else (option,):
            program = getattr(part, "jaxpr", part)
            if isinstance(program, Jaxpr):
                yield program
