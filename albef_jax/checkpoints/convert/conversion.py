"""Converts a checkpoint between forms: official `.pth`, `.safetensors`, Orbax, release.

Between files the state dict is passed on unchanged; our trees are made only for Orbax. A report
accounts for every name; if one is missing or unexpected, nothing is written.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from albef_jax.checkpoints.convert import release, target
from albef_jax.checkpoints.convert.source import (
    Source,
    complete,
    configuration,
    read_source,
)
from albef_jax.checkpoints.official import inventory
from albef_jax.checkpoints.official.inventory import Inventory
from albef_jax.checkpoints.official.weights_file import WEIGHTS
from albef_jax.errors import CheckpointError

_COLUMNS = ("read", "transposed", "tied", "cast", "added", "missing", "unexpected")


@dataclass(frozen=True)
class Report:
    """The outcome for every name of a checkpoint.

    Attributes:
        modules: for each first part of a name, counts by `_COLUMNS`. `tied` are second names of an
            array, `cast` became float32, `added` are names that follow from others.
        missing, unexpected: names, without those that were allowed.
        notes: further remarks, a line each.
    """

    task: str
    modules: dict[str, Counter[str]]
    missing: list[str]
    unexpected: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether every name was accounted for, so that the checkpoint was written."""
        return not self.missing and not self.unexpected


def convert(
    src: str | Path,
    dst: Path,
    *,
    task: str | None = None,
    allow: tuple[str, ...] = (),
    overwrite: bool = False,
    as_release: bool = False,
    with_teacher: bool = False,
) -> Report:
    """Write the checkpoint `src` as `dst`, in the form that `dst` is named after.

    Args:
        src: as for `load.read_checkpoint`.
        dst: a `.pth` or `.safetensors` file, or a new Orbax directory; a file `model.safetensors`,
            or any folder `as_release`, becomes a release.
        task: if the names fit two tasks, or none.
        allow: names, or modules such as `itm_head`, that may be missing or unexpected.
        with_teacher: keep teacher and queues in a release.

    Raises:
        CheckpointError: `src` cannot be read or does not fit, or `dst` may not be written.
    """
    as_release = as_release or dst.name == WEIGHTS
    folder = dst.parent if dst.name == WEIGHTS else dst
    if as_release:
        release.check_folder(folder, overwrite)
    else:
        target.check_target(dst, overwrite)
    source = read_source(src, task)
    found = source.inventory()
    to_orbax = not as_release and dst.suffix not in target.FILES
    report = _report(source, found, allow, to_orbax)
    if not report.ok:
        return report
    if as_release:
        report.notes.extend(release.write_release(folder, source, found, with_teacher=with_teacher))
    else:
        target.write_checkpoint(dst, source, found, overwrite=overwrite)
    return report


def format_report(report: Report) -> str:
    """The report as text: a line for each module, then missing and unexpected names."""
    width = max(len(module) for module in [*report.modules, report.task])
    lines = [f"{report.task:<{width}}" + "".join(f"{column:>12}" for column in _COLUMNS)]
    total = Counter[str]()
    for counted in report.modules.values():
        total.update(counted)
    for module, counted in (*report.modules.items(), ("total", total)):
        lines.append(f"{module:<{width}}" + "".join(f"{counted[c]:>12}" for c in _COLUMNS))
    for title, listed in (("missing", report.missing), ("unexpected", report.unexpected)):
        lines += [f"{title}: {name}" for name in listed]
    return "\n".join([*lines, *report.notes])


def _report(source: Source, found: Inventory, allow: tuple[str, ...], to_orbax: bool) -> Report:
    odd = [*found.missing, *found.unexpected]
    for one in allow:
        if not any(_is_in(name, (one,)) for name in odd):
            raise CheckpointError(f"--allow={one}: nothing of that name is missing or unexpected")
    present = list(source.state)
    added = complete(source, found)
    turns = to_orbax != (source.form == "orbax")
    modules: dict[str, Counter[str]] = {}
    for name in (*present, *added, *found.missing):
        counted = modules.setdefault(name.partition(".")[0], Counter())
        entry = found.entries.get(name)
        counted["read"] += name in present
        counted["added"] += name in added
        counted["missing"] += name in found.missing
        counted["unexpected"] += entry is None
        if entry and name in present:
            counted["tied"] += bool(entry.tied_to)
            counted["transposed"] += turns and bool(entry.axes)
            counted["cast"] += to_orbax and _is_cast(entry, source.state[name])
    notes = [*source.notes, *(f"allowed: {name}" for name in odd if _is_in(name, allow))]
    notes += _replaced(source, found) if to_orbax else []
    if "text_heads" not in configuration(source, found)["model"]:
        notes.append("unknown: how many heads, since there is no configuration; see model.*_heads")
    return Report(
        source.task,
        modules,
        [name for name in found.missing if not _is_in(name, allow)],
        [name for name in found.unexpected if not _is_in(name, allow)],
        notes,
    )


def _is_cast(entry: inventory.Entry, array: np.ndarray) -> bool:
    """Position numbers, the queue's pointer and image ids are integers in every form."""
    is_number = bool(entry.path) and entry.path not in (("pointer",), ("image_id",))
    return is_number and array.dtype != np.float32


def _replaced(source: Source, found: Inventory) -> list[str]:
    """Of two layers that share an array the second is used, even if the file's copies differ."""
    return [
        f"replaced: {entry.tied_to} by {name}, which counts"
        for name, entry in found.entries.items()
        if entry.wins and name in source.state
        if source.state[name] is not source.state[entry.tied_to]
    ]


def _is_in(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
