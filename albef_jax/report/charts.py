"""Curves of a training run as small vector drawings.

No plotting library draws them, because they take their colours from the page (light or dark) and
their size from the screen. Templates turn a `Chart` into SVG.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from albef_jax.report.axes import Axis, label, linear, logarithmic

# The drawing's own units; the page scales it, so these fix proportions only.
WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 22

MAX_POINTS = 200

Lines = Sequence[Mapping[str, Any]]
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Curve:
    """One metric: its key in a metrics line, and its name for a reader."""

    metric: str
    name: str


@dataclass(frozen=True)
class Panel:
    """Metrics that share a pair of axes.

    Attributes:
        title: what is drawn, with its unit.
        scale: the metric's unit in the panel's: 100 turns a share into percent.
        log: a logarithmic axis; values of 0 and less are then left out.
        zero: the axis starts at 0.
        note: an explanation for the reader.
    """

    title: str
    curves: tuple[Curve, ...]
    scale: float = 1.0
    log: bool = False
    zero: bool = False
    note: str = ""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in the drawing's units."""

    at: float
    label: str


@dataclass(frozen=True)
class Drawn:
    """A curve ready to draw, with its first and last value for the legend.

    Attributes:
        colour: number of its colour, from 1.
    """

    name: str
    colour: int
    path: str
    first: str
    last: str
    end: tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A panel ready to draw, `WIDTH` by `HEIGHT`."""

    title: str
    curves: list[Drawn]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    note: str = ""


def draw(panels: Sequence[Panel], lines: Lines) -> list[Chart]:
    """The charts of all panels that have at least one number.

    Args:
        lines: metrics lines, each with `step`; a value may be missing, null or NaN, which leaves
            a gap in its curve.
    """
    last = max((line["step"] for line in lines), default=0)
    charts = []
    for panel in panels:
        found = {curve.name: points(lines, curve.metric, panel) for curve in panel.curves}
        charts.append(_chart(panel.title, panel, [*filter(_any, found.items())], last))
    return [chart for chart in charts if chart]


def draw_runs(panels: Sequence[Panel], runs: Mapping[str, Lines]) -> list[Chart]:
    """A chart for each metric that a run has, with a curve for each run, in the run's colour.

    Args:
        runs: metrics lines by name, as for `draw`.
    """
    last = max((line["step"] for lines in runs.values() for line in lines), default=0)
    charts = []
    for panel in panels:
        for curve in panel.curves:
            title = panel.title if len(panel.curves) == 1 else f"{panel.title}: {curve.name}"
            found = [(name, points(lines, curve.metric, panel)) for name, lines in runs.items()]
            charts.append(_chart(title, panel, found, last))
    return [chart for chart in charts if chart]


def _any(series: tuple[str, Points]) -> bool:
    return any(y is not None for _, y in series[1])


def _chart(
    title: str, panel: Panel, series: Sequence[tuple[str, Points]], last: float
) -> Chart | None:
    """None without any number; a series without one still takes a colour."""
    values = [y for _, found in series for _, y in found if y is not None]
    if not values:
        return None
    low, high = min(values), max(values)
    if panel.log:
        y_axis = logarithmic(low, high)
    else:
        y_axis = linear(min(low, 0.0) if panel.zero else low, high)
    x_axis = linear(0, last)
    return Chart(
        title,
        [
            _drawn(name, colour, found, x_axis, y_axis)
            for colour, (name, found) in enumerate(series, start=1)
            if _any((name, found))
        ],
        [Tick(_x(x_axis, tick), label(tick)) for tick in x_axis.ticks],
        [Tick(_y(y_axis, tick), label(tick)) for tick in y_axis.ticks],
        note=panel.note,
    )


def points(lines: Lines, metric: str, panel: Panel) -> Points:
    """Step and value of a metric, in the panel's unit; neighbours are averaged if there are many.

    None marks a line without a usable number.
    """
    if not lines:
        return []
    merged = []
    for chunk in np.array_split(np.arange(len(lines)), min(len(lines), MAX_POINTS)):
        rows = [lines[number] for number in chunk.tolist()]
        known = [row[metric] for row in rows if _usable(row.get(metric), panel.log)]
        step = float(np.mean([row["step"] for row in rows]))
        merged.append((step, panel.scale * float(np.mean(known)) if known else None))
    return merged


def _usable(value: float | None, log: bool) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not log)


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * axis.share(value), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.share(value), 1)


def _drawn(name: str, colour: int, found: Points, x_axis: Axis, y_axis: Axis) -> Drawn:
    known = [(x, y) for x, y in found if y is not None]
    places = [(_x(x_axis, x), None if y is None else _y(y_axis, y)) for x, y in found]
    (_, first), (step, last) = known[0], known[-1]
    end = (_x(x_axis, step), _y(y_axis, last))
    return Drawn(name, colour, svg_path(places), label(first, 3), label(last, 3), end)


def svg_path(places: Points) -> str:
    """SVG path data: a stroke for each run of places without a gap, a dot for a lone one."""
    parts, pen = [], "M"
    for x, y in places:
        if y is None:
            pen = "M"
            continue
        # "h0" gives a lone point a zero length, which a round line cap shows as a dot.
        parts.append(f"{pen}{x:g},{y:g}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)
