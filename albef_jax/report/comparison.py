"""Compares runs: their figures, the options that differ, and their training."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from albef_jax.evaluate import queries
from albef_jax.evaluate.queries import Changed
from albef_jax.report.axes import label
from albef_jax.report.bounds import BOUNDS
from albef_jax.report.charts import draw_runs
from albef_jax.report.panels import PANELS
from albef_jax.report.rendering import environment
from albef_jax.report.runs import Run
from albef_jax.workdir.config_file import flatten

# Sizes and chance levels, which say nothing about the quality of a run.
GIVEN = {
    "images", "pictures", "captions", "rerank", "count", "unreadable", "unscored", "chance",
    "chance_r1", "majority", "majority_per_kind", "count_per_kind",
}  # fmt: skip
# Entries of `results.json` that repeat others, or tell of other data.
NO_FIGURES = ("scores", "validation")
SHOWN = 20  # of the queries that changed, either way
NAMES = {
    "text_retrieval": "captions for an image",
    "image_retrieval": "images for a caption",
    "itc": "ITC",
    "itm": "ITM",
    "unseen": "unseen combinations",
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
}
# Options that name a run and do not shape it.
LABELS = ("preset",)


@dataclass(frozen=True)
class ComparedFigure:
    """One line of a table, a cell for each run; `best` are the numbers of cells to be bold."""

    name: str
    cells: list[str]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Comparison:
    """The tables of a page.

    Attributes:
        equal: how many options are not in `settings`.
        warnings: why figures should be compared with care.
        changes: for each run but the first, the queries that changed since the first.
    """

    runs: list[Run]
    scores: list[ComparedFigure]
    training: list[ComparedFigure]
    settings: list[ComparedFigure]
    equal: int
    warnings: list[str]
    changes: list[tuple[str, Changed]]

    @property
    def names(self) -> list[str]:
        """Of the runs, in their order."""
        return [run.name for run in self.runs]


def compare(runs: Sequence[Run]) -> Comparison:
    """The tables of some runs."""
    settings, equal = _settings(runs)
    tables = list(runs), _scores(runs), _training(runs), settings, equal
    return Comparison(*tables, list(_warnings(runs)), list(_changes(runs)))


def _changes(runs: Sequence[Run]) -> Iterator[tuple[str, Changed]]:
    first = queries.read(runs[0].workdir)
    for run in runs[1:]:
        found = queries.changed(first, queries.read(run.workdir))
        if found:
            yield run.name, found


def _figures(run: Run) -> dict[str, float]:
    """All numbers of the evaluation, by dotted name."""
    parts = {
        name: value
        for name, value in (run.results or {}).items()
        if isinstance(value, dict) and name not in NO_FIGURES
    }
    return {
        name.partition(".")[2]: value
        for name, value in flatten(parts).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _scores(runs: Sequence[Run]) -> list[ComparedFigure]:
    figures = [_figures(run) for run in runs]
    names = dict.fromkeys(name for found in figures for name in found)
    rows = []
    for name in names:
        if GIVEN.isdisjoint(name.split(".")):
            values = [found.get(name) for found in figures]
            words = ", ".join(NAMES.get(part, part) for part in name.split("."))
            rows.append(_row(words, values, lambda value: f"{value:.1f}", best=max))
    return rows


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    """Evaluations that are missing or not comparable."""
    for run in runs:
        if run.results is None:
            yield f"{run.name} has not been evaluated: no results.json."
        elif run.results.get("step", 0) < run.lines[-1]["step"]:
            yield f"{run.name} was evaluated before its last logged step."
    evaluated = [run for run in runs if run.results is not None]
    if len({(run.results or {}).get("evaluated_on") for run in evaluated}) > 1:
        yield "The runs were evaluated on different data."
    given = [
        {k: v for k, v in _figures(run).items() if not GIVEN.isdisjoint(k.split("."))}
        for run in evaluated
    ]
    different = sorted({k for one in given for k in one if any(o.get(k) != one[k] for o in given)})
    if different:
        yield f"The evaluations differ in {', '.join(different)}."


def _training(runs: Sequence[Run]) -> list[ComparedFigure]:
    rows = [
        _row("step", [run.lines[-1]["step"] for run in runs], "{:,.0f}".format),
        _row("last loss", [_last(run, "loss") for run in runs], lambda x: label(x, 3)),
        _row("pairs a second", [_median(run, "pairs_per_s") for run in runs], "{:,.0f}".format),
        _row("waiting for data, %", [_median(run, "data_wait") for run in runs], _percent),
        _row("mfu, %", [_median(run, "mfu") for run in runs], _percent),
        _row("time, h:mm:ss", [_seconds(run) for run in runs], _clock),
        _row("steps skipped", [_sum(run, "skipped") for run in runs], "{:.0f}".format),
        _row("bad samples", [_last(run, "bad_samples") for run in runs], "{:.0f}".format),
    ]
    return [row for row in rows if any(cell != "–" for cell in row.cells)]


def _row(
    name: str,
    values: Sequence[float | None],
    write: Callable[[float], str],
    best: Callable | None = None,
) -> ComparedFigure:
    known = [value for value in values if value is not None]
    cells = ["–" if value is None else write(value) for value in values]
    if best is None or len(set(cells)) < 2:
        return ComparedFigure(name, cells)
    top = write(best(known))
    return ComparedFigure(name, cells, frozenset(n for n, cell in enumerate(cells) if cell == top))


def _known(run: Run, metric: str) -> list[float]:
    return [line[metric] for line in run.lines if line.get(metric) is not None]


def _last(run: Run, metric: str) -> float | None:
    return next(iter(_known(run, metric)[::-1]), None)


def _median(run: Run, metric: str) -> float | None:
    known = _known(run, metric)
    return statistics.median(known) if known else None


def _sum(run: Run, metric: str) -> float | None:
    known = _known(run, metric)
    return sum(known) if known else None


def _seconds(run: Run) -> float | None:
    """Of all logged steps, from their throughput."""
    batch, total, before = run.config["train.batch_size"], 0.0, 0
    for line in run.lines:
        rate = line.get("pairs_per_s")
        if not rate:
            return None
        total += (line["step"] - before) * batch / rate
        before = line["step"]
    return total


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _settings(runs: Sequence[Run]) -> tuple[list[ComparedFigure], int]:
    """Options that differ, and how many do not."""
    options = dict.fromkeys(option for run in runs for option in run.config)
    rows = [
        ComparedFigure(option, [_written(run.config, option) for run in runs]) for option in options
    ]
    different = [row for row in rows if len(set(row.cells)) > 1 and row.name not in LABELS]
    return different, len(rows) - len(different)


def _written(config: Mapping[str, Any], option: str) -> str:
    return json.dumps(config[option], ensure_ascii=False) if option in config else "–"


def page(comparison: Comparison) -> str:
    """The whole page, as HTML."""
    return (
        environment()
        .get_template("compare.html")
        .render(
            runs=comparison.runs,
            names=comparison.names,
            task=comparison.runs[0].task,
            scores=comparison.scores,
            training=comparison.training,
            settings=comparison.settings,
            equal=comparison.equal,
            warnings=comparison.warnings,
            changes=comparison.changes,
            shown=SHOWN,
            charts=draw_runs((*PANELS, *BOUNDS), {run.name: run.lines for run in comparison.runs}),
        )
    )


def lines(comparison: Comparison) -> list[str]:
    """The tables for a terminal: what differs, training, figures."""
    rows = [*comparison.settings, *comparison.training, *comparison.scores]
    left = max(len(row.name) for row in rows)
    widths = [
        max(len(name), *(len(row.cells[n]) for row in rows))
        for n, name in enumerate(comparison.names)
    ]

    def line(name: str, cells: Sequence[str]) -> str:
        right = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([name.ljust(left), *right])

    found = [line("", comparison.names)]
    for group in (comparison.settings, comparison.training, comparison.scores):
        found += ["", *(line(row.name, row.cells) for row in group)] if group else []
    changes = [_told(comparison.names[0], *one) for one in comparison.changes]
    return [*found, *([""] if changes else []), *changes, *_apart(comparison.warnings)]


def _apart(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []


def _told(first: str, name: str, change: Changed) -> str:
    return (
        f"{name}: {len(change.gained)} queries right that {first} has wrong, {len(change.lost)} "
        f"the other way round, {change.same} as before"
    )
