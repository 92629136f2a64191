"""Programs that do the same, timed by turns, so that their ratio is of the same minutes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def compiled(function: Callable, *inputs: Any) -> tuple[Callable, float]:
    """The compiled function, and the memory it takes besides its inputs, in GiB."""
    program = jax.jit(function).lower(*inputs).compile()
    memory = program.memory_analysis()
    assert memory is not None  # CPU, GPU and TPU all tell
    return program, memory.temp_size_in_bytes / 2**30


def by_turns(
    programs: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """The seconds of the fastest of the rounds of each, and what each gave in the last."""
    seconds, found = dict.fromkeys(programs, float("inf")), {}
    for _ in range(rounds):
        for name, program in programs.items():
            began = time.perf_counter()
            found[name] = jax.block_until_ready(program())
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds, found
