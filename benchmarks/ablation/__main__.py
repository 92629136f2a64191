"""The paper's Table 1 on the built-in world: `python -m benchmarks.ablation`.

Trains each row of the table with several seeds and fine-tunes it on retrieval, entailment, NLVR2
and VQA; then pre-trains with and without distillation at several shares of web-like captions. Each
run has a workdir under `--root`; the same command continues where it stopped, and Ctrl-C saves.
Prints the table last, and writes all figures to `--out`.

Examples:
    python -m benchmarks.ablation --size=cpu --jobs=2
    python -m benchmarks.ablation --size=device --rows hard distilled --no_curves
    python -m benchmarks.ablation --size=cpu --jobs=2 --list
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.ablation import figures, page
from benchmarks.ablation.plan import ROWS, SIZES, cells
from benchmarks.ablation.running import run_all


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SIZES, default="cpu", help="how much is spent")
    parser.add_argument("--root", type=Path, help="where runs are kept; runs/ablation_SIZE")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--no_curves", action="store_true", help="the table alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on its own cores")
    parser.add_argument("--list", action="store_true", help="print what is done and what is not")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write ablation.md there")
    chosen = parser.parse_args(given)
    if chosen.jobs < 1:
        parser.error(f"--jobs={chosen.jobs}: must be 1 or more")
    chosen.root = (chosen.root or Path(f"runs/ablation_{chosen.size}")).resolve()
    return chosen


def plain(found: Any) -> Any:
    """Figures by their names, for JSON."""
    if isinstance(found, figures.Figure):
        return found._asdict()
    return {name: plain(value) for name, value in found.items()}


def main(given: list[str] | None = None) -> int:
    """Run what is missing, then tell what is there; 1 if a run failed."""
    chosen = arguments(given)
    size = SIZES[chosen.size]
    planned = cells(chosen.root, size, tuple(chosen.rows), not chosen.no_curves)
    if chosen.list:
        for cell in planned:
            print(f"{'done' if cell.done else '    '} {cell}")
        return 0
    try:
        failed = run_all(planned, chosen.jobs, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    table, curves = figures.table(chosen.root, size), figures.curves(chosen.root, size)
    for name, row in table.items():
        found = ", ".join(f"{title} {figure}" for title, figure in row.items())
        print(f"{ROWS[name].title:28} {found or 'nothing yet'}")
    if chosen.out:
        kept = {"size": chosen.size, "table": plain(table), "curves": plain(curves)}
        chosen.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if chosen.page:
        command = f"python -m benchmarks.ablation --size={chosen.size} --jobs={chosen.jobs}"
        print(page.write(chosen.page, command, size, table, curves))
    for cell in failed:
        print(f"failed or not started: {cell}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
