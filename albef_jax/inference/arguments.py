"""Checks arguments; each error names the argument and its permitted values."""

from typing import Any

import numpy as np


class ArgumentError(ValueError):
    """An invalid argument; the message names it and its permitted values."""


def whole_number(name: str, value: Any, low: int, high: int | None = None, what: str = "") -> int:
    """A whole number from `low` to `high`, as an int.

    Args:
        what: what the numbers count, for the message: "fusion layers of this model".

    Raises:
        ArgumentError: out of range, or no whole number (True and False are not).
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and low <= value and (high is None or value <= high):
        return int(value)
    allowed = f"{low} or more" if high is None else f"{low} to {high}"
    told = f" ({what})" if what else ""
    raise ArgumentError(f"{name}={value!r}: must be a whole number, {allowed}{told}")
