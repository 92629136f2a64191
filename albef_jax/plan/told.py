"""A plan in words, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from albef_jax.plan.planned import Plan
from albef_jax.plan.speed import Figure

GiB = 2**30
# How each figure came about.
_SPEEDS = {
    "at_peak": "arithmetic alone",
    "bound": "bound of the kernels",
    "expected": "expected",
}


def as_json(made: Plan) -> dict[str, Any]:
    """Everything, for programs; bytes and pairs a second."""
    hours = made.hours
    devices = {name: made.count * value for name, value in hours.items()}
    memory = asdict(made.memory) | {"total": made.memory.total}
    more = {
        "fits": made.fits,
        "cores": made.cores,
        "hours": hours,
        "device_hours": devices,
        "memory": memory,
    }
    return asdict(made) | more


def in_words(made: Plan) -> list[str]:
    """The table, a line each."""
    rows = [*_devices(made), *_settings(made), *_memory(made), *_speed(made), *_run(made)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    lines += [f"cannot be said: {text}" for text in made.unknown]
    return lines + [f"note: {text}" for text in made.notes]


def _devices(made: Plan) -> Iterator[tuple[str, str]]:
    yield "recipe", f"{made.recipe}, batch {made.batch}"
    yield (
        "devices",
        f"{made.count} x {made.kind} on {made.hosts} host(s), {made.pairs:g} items each at a time",
    )


def _settings(made: Plan) -> Iterator[tuple[str, str]]:
    for one in made.settings:
        yield one.option, f"{one.value}: {one.reason}"


def _memory(made: Plan) -> Iterator[tuple[str, str]]:
    fits = "fits" if made.fits else "DOES NOT FIT"
    yield "memory, estimated", f"{made.memory}: {fits} in {made.budget / GiB:.1f} GiB to plan with"


def _speed(made: Plan) -> Iterator[tuple[str, str]]:
    if made.flops is None or made.speed is None:
        return
    yield "operations a pair", f"{made.flops / 1e9:.1f} x 10^9, counted"
    for name, title in _SPEEDS.items():
        figure: Figure | None = getattr(made.speed, name)
        if figure is None:
            continue
        text = f"{figure.pairs_per_s:,.0f} pairs/s"
        text += "" if name == "at_peak" else f", {figure.share:.1%} of the peak"
        if name in made.hours:
            text += f", {_duration(made.hours[name], made.count)}"
        yield title, f"{text}; {figure.source}"
    if made.speed.reached is not None:
        yield "reached so far", f"{made.speed.reached:.0%} of the bound, in that measurement"


def _duration(hours: float, count: int) -> str:
    return f"{hours:,.1f} h, {count * hours:,.1f} device-hours"


def _run(made: Plan) -> Iterator[tuple[str, str]]:
    if made.epoch:
        yield "items of an epoch", f"{made.epoch.count:,} ({made.epoch.source})"
    if made.steps is not None:
        yield "steps", f"{made.steps:,}, {made.steps * made.batch:,} items"
    if made.cores is not None:
        yield "cores to feed it", f"{made.cores:.1f} a host, to read and transform as fast"
    one, most = made.checkpoint / GiB, made.kept + 1
    yield (
        "disk for checkpoints",
        f"{most * one:.1f} GiB: {made.kept} kept and one being written, {one:.2f} GiB each",
    )
