"""Operations of convolutions, which is what XLA:TPU makes of all matrix products.

Products in batches become convolutions over axes of the batch that are stretched until each result
sees one element; so only what is really multiplied counts, neither padding nor holes.
"""

import math
import re

import numpy as np

from benchmarks.hlo import Array, Instruction


def _window(attributes: str) -> dict[str, list[str]]:
    """Settings of the window, each with a value for every axis."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    fields = re.findall(r"(\w+)=(\S+)", found.group(1)) if found else []
    return {name: value.split("x") for name, value in fields}


def _met(window: dict[str, list[str]], axis: int, taps: int, inputs: int, outputs: int) -> int:
    """How often a place of the kernel meets an element of the input, along an axis."""

    def setting(name: str, default: str) -> str:
        return window[name][axis] if name in window else default

    stretch = int(setting("lhs_dilate", "1"))
    starts = np.arange(outputs) * int(setting("stride", "1"))
    reach = np.arange(taps) * int(setting("rhs_dilate", "1"))
    places = starts[:, None] + reach - int(setting("pad", "0_0").split("_")[0])
    inside = (places >= 0) & (places <= (inputs - 1) * stretch) & (places % stretch == 0)
    return int(inside.sum())


def operations(instruction: Instruction, inputs: Array, kernel: Array) -> int:
    """Two for each multiply-add; 0 of a library's call that does not name its axes."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if not labels:
        return 0
    of_input, of_kernel, of_result = labels.groups()
    result, window = instruction.arrays[0], _window(instruction.attributes)
    met = math.prod(
        _met(
            window,
            int(axis),
            kernel.shape[of_kernel.index(axis)],
            inputs.shape[of_input.index(axis)],
            result.shape[of_result.index(axis)],
        )
        for axis in of_kernel
        if axis.isdigit()
    )
    rows, features = result.shape[of_result.index("b")], result.shape[of_result.index("f")]
    return 2 * met * rows * features * kernel.shape[of_kernel.index("i")]
