"""What a task's evaluation gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """What came out of an evaluation.

    Attributes:
        results: for `results.json`.
        lines: the same in a few lines, to print.
        template: of the report.
        context: what the template shows besides curves and figures.
        scores: single figures, higher is better, by the names of `TaskSpec.scores`.
        queries: a row a query, see `evaluate.queries`.
    """

    results: dict[str, Any]
    lines: list[str]
    template: str
    context: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)
    queries: Sequence[dict[str, Any]] = ()
