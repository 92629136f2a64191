"""The figures of finished runs in one file, which outlives their workdirs.

So the ablation can be spread over days and machines: a run whose figures are recorded is not run
again, unless its options or those of the run behind it have changed.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.ablation.plan import Cell


class Record:
    """Figures by the names of cells.

    Attributes:
        path: the file; written anew with each run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self._cells = json.loads(path.read_text(encoding="utf-8"))["cells"]

    def figures(self, cell: Cell) -> dict[str, float] | None:
        """What the cell reached, in percent; None if it has not been run as it is planned."""
        kept = self._cells.get(cell.name)
        return kept["figures"] if kept and kept["options"] == cell.described else None

    def keep(self, cell: Cell, figures: dict[str, float]) -> None:
        """Add what a cell reached."""
        self._cells[cell.name] = {"options": cell.described, "figures": figures}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        text = json.dumps({"cells": dict(sorted(self._cells.items()))}, indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.path)

    def missing(self, cells: list[Cell]) -> list[Cell]:
        """The cells without figures, after the parents they need whose workdirs are gone.

        Args:
            cells: parents before children.
        """
        needed = {cell.folder for cell in cells if self.figures(cell) is None}
        for cell in reversed(cells):
            if cell.folder in needed and cell.needs and not _finished(cell.needs):
                needed.add(cell.needs)
        return [cell for cell in cells if cell.folder in needed]


def _finished(workdir: Path) -> bool:
    return (workdir / "results.json").is_file()
