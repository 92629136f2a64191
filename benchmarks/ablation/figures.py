"""What the runs reached: each figure's mean and spread over the seeds."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ablation.plan import CURVES, ROWS, Size, cell_of
from benchmarks.ablation.record import Record


class Figure(NamedTuple):
    """A figure of one row in percent.

    Attributes:
        mean: over the seeds.
        spread: standard deviation over the seeds; None of one seed.
        values: by seed; those that are not there yet are left out.
    """

    mean: float
    spread: float | None
    values: tuple[float, ...]

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.1f}"
        return f"{self.mean:.1f}{spread}"


class Measure(NamedTuple):
    """A column of the table: a stage, and a figure of its `results.json`."""

    title: str
    stage: str
    read: Callable[[dict[str, Any]], float]


def _recall(direction: str) -> Callable[[dict[str, Any]], float]:
    """The mean of R@1, R@5 and R@10, re-ranked by matching: what the paper's Table 1 has."""
    return lambda results: statistics.mean(results["retrieval"]["itm"][direction].values())


COLUMNS = (
    Measure("captions for an image", "retrieval", _recall("text_retrieval")),
    Measure("images for a caption", "retrieval", _recall("image_retrieval")),
    Measure("entailment", "entailment", lambda found: found["judgement"]["unseen"]["accuracy"]),
    Measure("NLVR2", "nlvr", lambda found: found["judgement"]["unseen"]["accuracy"]),
    Measure("VQA", "vqa", lambda found: found["answers"]["unseen"]["accuracy"]),
)
# Of pre-training, without fine-tuning.
CURVE = (
    Measure("captions for an image", "pretrain", _recall("text_retrieval")),
    Measure("images for a caption", "pretrain", _recall("image_retrieval")),
)


def reached(stage: str, results: dict[str, Any]) -> dict[str, float]:
    """The figures of a run by their titles, from its `results.json`."""
    return {m.title: round(m.read(results), 2) for m in (*COLUMNS, *CURVE) if m.stage == stage}


def table(record: Record, size: Size) -> dict[str, dict[str, Figure]]:
    """The figures that are there, by row and column."""
    return {
        name: _row({m.title: _figure(record, size, m, name, size.noise) for m in COLUMNS})
        for name in ROWS
    }


def curves(record: Record, size: Size) -> dict[str, dict[str, dict[float, Figure]]]:
    """The figures that are there, by column, pre-training and noise."""
    return {
        m.title: {
            name: _row({noise: _figure(record, size, m, name, noise) for noise in size.curve})
            for name in CURVES
        }
        for m in CURVE
    }


def _row(found: dict[Any, Figure | None]) -> dict[Any, Figure]:
    return {name: figure for name, figure in found.items() if figure}


def _figure(record: Record, size: Size, measure: Measure, row: str, noise: float) -> Figure | None:
    values = []
    for seed in range(size.seeds):
        found = record.figures(cell_of(Path(), size, measure.stage, ROWS[row], noise, seed))
        if found:
            values.append(found[measure.title])
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Figure(statistics.mean(values), spread, tuple(values))
