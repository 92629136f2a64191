"""Replays recorded steps of the official system; prints the largest error of each quantity.

`ALBEF_GOLDEN_DIRS` names further golden sets, separated by colons.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.golden_set import GoldenSet

HERE = Path(__file__).parent
DEFAULT = HERE.parent / "golden" / "tiny"
ROWS: list["Row"] = []


@dataclass(frozen=True)
class Row:
    golden: str
    quantity: str
    error: float
    tolerance: float
    where: str


def golden_dirs() -> list[Path]:
    value = os.environ.get("ALBEF_GOLDEN_DIRS", "")
    return [Path(part) for part in value.split(":") if part] or [DEFAULT]


@pytest.fixture(scope="session", params=golden_dirs(), ids=lambda path: path.name)
def golden(request) -> GoldenSet:
    return GoldenSet(request.param)


class Comparison:
    """Collects the largest relative error of each quantity, and fails at the end of the test."""

    def __init__(self, golden: str):
        self.golden = golden
        self.worst: dict[str, Row] = {}

    def add(self, quantity, ours, theirs, tolerance, where="", scale=None):
        """Compare arrays.

        The error is the largest difference relative to the largest magnitude of `theirs` (or to
        `scale`), so that it says how many digits of the whole array agree.
        """
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape, f"{quantity} {where}: {ours.shape} != {theirs.shape}"
        scale = np.max(np.abs(theirs), initial=0.0) if scale is None else scale
        difference = np.max(np.abs(ours - theirs), initial=0.0)
        error = float(difference / scale) if scale else float(difference)
        old = self.worst.get(quantity)
        if old is None or not error <= old.error:
            self.worst[quantity] = Row(self.golden, quantity, error, tolerance, where)

    def finish(self):
        ROWS.extend(self.worst.values())
        failed = [row for row in self.worst.values() if not row.error <= row.tolerance]
        assert not failed, "\n".join(
            f"{r.quantity} {r.where}: {r.error:.2e} > {r.tolerance:.0e}" for r in failed
        )


@pytest.fixture
def compare(golden) -> Comparison:
    comparison = Comparison(golden.path.name)
    yield comparison
    comparison.finish()


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    terminalreporter.section("parity with the official system")
    line = "{:<10} {:<38} {:>9} {:>9}  {}"
    terminalreporter.write_line(line.format("golden", "quantity", "error", "allowed", "where"))
    for row in ROWS:
        values = (row.golden, row.quantity, f"{row.error:.1e}", f"{row.tolerance:.0e}", row.where)
        terminalreporter.write_line(line.format(*values))
