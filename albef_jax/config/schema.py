"""Whether a configuration has the options of its task, and each holds a value of its kind.

`config.default()` is locked, so most such mistakes never get here; a recipe may build its own.
"""

import difflib
import math
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from albef_jax.config import auto, renamed
from albef_jax.config.defaults import default
from albef_jax.config.tasks import TASKS

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    tuple: "several values in brackets",
}


def problems(config: ConfigDict) -> Iterator[str]:
    """One line for each option that is missing, unknown, or of another kind than its default."""
    found = config.to_dict()
    task = found.get("task")
    if not isinstance(task, str) or task not in TASKS:
        near = difflib.get_close_matches(str(task), TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield f"task={task!r}: choose one of {', '.join(TASKS)}{hint}"
        return
    yield from _section("", found, default(task).to_dict())


def _section(prefix: str, found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    for name in found.keys() - wanted.keys():
        if old := renamed.old_options(f"{prefix}{name}"):
            yield from map(renamed.replacement, old)
            continue
        near = difflib.get_close_matches(str(name), wanted, n=1)
        hint = f"; did you mean {prefix}{near[0]}?" if near else "; remove it"
        yield f"{prefix}{name}: no such option{hint}"
    for name, example in wanted.items():
        option = f"{prefix}{name}"
        if name not in found:
            yield f"{option} is missing; albef_jax.config.default sets all options"
        elif isinstance(example, dict):
            if isinstance(found[name], dict):
                yield from _section(f"{option}.", found[name], example)
            else:
                yield f"{option}={found[name]!r}: must be a section of options"
        elif option in auto.OPTIONS and found[name] == auto.AUTO:
            continue
        elif problem := _kind(found[name], example):
            hint = f", or {auto.AUTO}" if option in auto.OPTIONS else ""
            yield f"{option}={found[name]!r}: {problem}{hint}"


def _kind(value: Any, example: Any) -> str | None:
    """Describes a type error in `value`; `example` has the right type."""
    if example is None:  # train.steps
        return None if value is None or _is(value, int) else "must be a whole number or None"
    kind = type(example)
    if not _is(value, kind):
        return f"must be {_KINDS[kind]}"
    numbers = value if kind is tuple else (value,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        return "must be finite"
    if kind is tuple and example and not all(_is(part, type(example[0])) for part in value):
        return f"each must be {_KINDS[type(example[0])]}"
    return None


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, (tuple, list) if kind is tuple else kind)
