"""Reads finished and running workdirs for a comparison."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from albef_jax.config.defaults import default
from albef_jax.config.renamed import modernise
from albef_jax.config.tasks import TASKS
from albef_jax.observability.metrics import parse_lines, read_lines
from albef_jax.report.bounds import with_bounds
from albef_jax.report.charts import Lines
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.paths import AnyPath, BucketPath, path_of
from albef_jax.workdir.appended import joined
from albef_jax.workdir.config_file import flatten

# The number of line styles of a page.
MOST = 8


class CannotCompare(ValueError):
    """Runs cannot be compared; the message names them and the remedy."""


@dataclass(frozen=True)
class Run:
    """One workdir.

    Attributes:
        config: every option by its dotted name; those younger than the run with their default.
        lines: of `metrics.jsonl`, with the bounds of mutual information.
        results: None before the first evaluation.
    """

    name: str
    workdir: AnyPath
    config: dict[str, Any]
    lines: Lines
    results: dict[str, Any] | None

    @property
    def task(self) -> str:
        """The task that it trains."""
        return str(self.config["task"])


def read_runs(given: Sequence[str]) -> list[Run]:
    """The runs that a command line names, as `DIR` or `NAME=DIR`.

    Raises:
        CannotCompare: fewer than two, too many, not the workdir of a run, nothing logged, two of
            one name, or different tasks.
    """
    if not 2 <= len(given) <= MOST:
        raise CannotCompare(f"name 2 to {MOST} workdirs, not {len(given)}")
    runs = [_read(*_name(text)) for text in given]
    for number, run in enumerate(runs):
        for other in runs[:number]:
            if run.workdir.resolve() == other.workdir.resolve():
                raise CannotCompare(f"{run.workdir} is named twice; leave one out")
            if run.name == other.name:
                raise CannotCompare(
                    f"{other.workdir} and {run.workdir} are both called {run.name}; give one "
                    f"another name, as in other={run.workdir}"
                )
            if run.task != other.task:
                raise CannotCompare(
                    f"{other.workdir} is a run of {other.task}, {run.workdir} of {run.task}; "
                    "compare runs of one task"
                )
    return runs


def _name(text: str) -> tuple[str, AnyPath]:
    name, equals, path = text.partition("=")
    if equals and name and not path_of(text).exists():
        return name, path_of(path)
    return path_of(text).resolve().name, path_of(text)


def _logged(workdir: AnyPath) -> list[dict[str, float]]:
    if isinstance(workdir, BucketPath):
        parts, _ = joined(BucketFolder(f"{workdir}/metrics.jsonl"))
        return parse_lines(parts.decode())
    return read_lines(workdir / "metrics.jsonl")


def _read(name: str, workdir: AnyPath) -> Run:
    if not (workdir / "config.json").is_file():
        raise CannotCompare(f"{workdir}: no config.json, so not the workdir of a run")
    config = modernise(_json(workdir / "config.json"))
    lines = _logged(workdir)
    if not lines:
        raise CannotCompare(
            f"{workdir}: no line in metrics.jsonl; a run has one after log.every_steps steps, and "
            "none if it was only evaluated"
        )
    if not all(isinstance(line, dict) and "step" in line for line in lines):
        raise CannotCompare(f"{workdir / 'metrics.jsonl'}: a line has no 'step'")
    if config.get("task") not in TASKS:
        raise CannotCompare(f"{workdir / 'config.json'}: task is none of {', '.join(TASKS)}")
    since = flatten(json.loads(default(config["task"]).to_json()))
    results = workdir / "results.json"
    return Run(
        name,
        workdir,
        since | flatten(config),
        with_bounds(lines, config),
        _json(results) if results.is_file() else None,
    )


def _json(path: AnyPath) -> dict:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CannotCompare(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise CannotCompare(f"{path}: not a JSON object")
    return found
