"""What became of each query of an evaluation: `queries.csv`, a row a query.

Every row has `query`, its name in this evaluation; `text`, what was asked; `right`, 1 or 0, or
empty without a known answer; and `doubt`, by which the worst of the wrong ones are found, larger is
worse. What else there is depends on the task.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albef_jax.storage.paths import AnyPath
from albef_jax.system import atomic

FILE = "queries.csv"
Row = dict[str, Any]


def right(value: bool | None) -> int | str:
    """As it is written."""
    return "" if value is None else int(value)


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Write `queries.csv`; nothing without rows."""
    if not rows:
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in row.items()} for row in rows)
    atomic.write_text(folder / FILE, text.getvalue())


def _written(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def read(folder: AnyPath) -> list[dict[str, str]]:
    """The rows, all texts; none without the file."""
    file = folder / FILE
    if not file.is_file():
        return []
    return list(csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8"), newline="")))


def worst(rows: Sequence[Row], count: int) -> list[Row]:
    """The wrong ones with the largest `doubt`, in order."""
    wrong = [row for row in rows if row["right"] == 0]
    return sorted(wrong, key=lambda row: -row["doubt"])[:count]


@dataclass(frozen=True)
class Changed:
    """Queries that one run answers and another does not.

    Attributes:
        gained: names and texts of those that only the second answers.
        lost: of those that only the first answers.
        same: how many are right or wrong in both.
    """

    gained: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    same: int


def changed(first: Sequence[dict[str, str]], second: Sequence[dict[str, str]]) -> Changed | None:
    """What changed from one evaluation to another; None if they have no query in common."""
    before = {(row["query"], row["text"]): row["right"] for row in first}
    gained: list[tuple[str, str]] = []
    lost: list[tuple[str, str]] = []
    same = 0
    for row in second:
        query = row["query"], row["text"]
        now, then = row["right"], before.get(query)
        if then is None or "" in (now, then):
            continue
        if now == then:
            same += 1
        else:
            (gained if now == "1" else lost).append(query)
    return Changed(gained, lost, same) if gained or lost or same else None
