"""Axes of a drawing: round tick values that enclose the data, and how they are written."""

import math
from collections.abc import Callable
from dataclasses import dataclass

INTERVALS = 4


@dataclass(frozen=True)
class Axis:
    """One axis, from its first tick to its last.

    Attributes:
        ticks: ascending values, two or more.
        log: whether equal ratios, not equal differences, have equal lengths.
    """

    ticks: list[float]
    log: bool = False

    def share(self, value: float) -> float:
        """The position of a value on the axis: 0 at the first tick, 1 at the last."""
        scale: Callable[[float], float] = math.log if self.log else float
        first, last = scale(self.ticks[0]), scale(self.ticks[-1])
        return (scale(value) - first) / (last - first)


def linear(low: float, high: float) -> Axis:
    """Ticks at multiples of 1, 2 or 5 times a power of ten, about `INTERVALS` of them."""
    if math.isclose(low, high, rel_tol=1e-6):
        # A constant gets room above and below, and zero gets a unit.
        margin = abs(low) / 2 or 1.0
        low, high = (low - margin if low else low), high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / INTERVALS))
    unit = next(m for m in (1, 2, 5, 10) if high - low <= m * power * INTERVALS * 1.001) * power
    # Rounding first: 0.3 / 0.1 is a little less than 3, and needs no tick at 0.2.
    first, last = math.floor(round(low / unit, 6)), math.ceil(round(high / unit, 6))
    return Axis([number * unit for number in range(first, last + 1)])


def logarithmic(low: float, high: float) -> Axis:
    """Ticks at 1, 2 and 5 times powers of ten; at powers of ten alone over wide ranges."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    values = [step * 10.0**power for power in powers for step in steps]
    first = max(value for value in values if value <= low)
    last = min(value for value in values if value > high)
    return Axis([value for value in values if first <= value <= last], log=True)


def label(value: float, digits: int = 6) -> str:
    """A number as short as it can be: `50,000`, `0.25`, `1e-5`."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return text.replace("e-0", "e-")
