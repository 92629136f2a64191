"""The paper's Table 1 on the built-in world: `python -m benchmarks.ablation`.

Trains each row of the table with several seeds and fine-tunes it on retrieval, entailment, NLVR2
and VQA; then pre-trains with and without distillation at several shares of web-like captions. Each
run has a workdir under `--root`; the same command continues where it stopped, and Ctrl-C saves.
What a run reached is kept in `--record`, and is not run again where the workdirs are gone. Prints
the table last.

Examples:
    python -m benchmarks.ablation --size=cpu --jobs=2
    python -m benchmarks.ablation --size=cpu --jobs=2 --seeds=1 --stages retrieval vqa --no_curves
    python -m benchmarks.ablation --size=device --rows hard distilled --no_curves
    python -m benchmarks.ablation --size=cpu --list
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.ablation import figures, page
from benchmarks.ablation.plan import ROWS, SIZES, STAGES, Cell, cells
from benchmarks.ablation.record import Record
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
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="and what they start from"
    )
    parser.add_argument("--no_curves", action="store_true", help="the table alone")
    parser.add_argument("--seeds", type=int, help="only so many of the seeds")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on its own cores")
    parser.add_argument("--list", action="store_true", help="print what is done and what is not")
    parser.add_argument("--record", type=Path, help="file of the figures; ROOT/figures.json")
    parser.add_argument("--show", action="store_true", help="run nothing; print what there is")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write ablation.md there")
    chosen = parser.parse_args(given)
    if chosen.jobs < 1:
        parser.error(f"--jobs={chosen.jobs}: must be 1 or more")
    if chosen.seeds is not None and chosen.seeds < 1:
        parser.error(f"--seeds={chosen.seeds}: must be 1 or more")
    chosen.root = (chosen.root or Path(f"runs/ablation_{chosen.size}")).resolve()
    chosen.record = chosen.record or chosen.root / "figures.json"
    return chosen


def main(given: list[str] | None = None) -> int:
    """Run what is missing, then tell what is there; 1 if a run failed."""
    chosen = arguments(given)
    size, record = SIZES[chosen.size], Record(chosen.record)
    seeds = min(chosen.seeds or size.seeds, size.seeds)
    planned = cells(
        chosen.root,
        size,
        tuple(chosen.rows),
        not chosen.no_curves,
        seeds,
        tuple(chosen.stages),
    )
    missing = record.missing(planned)
    print(f"{sum(map(bool, map(record.figures, planned)))} of {len(planned)} runs are recorded")
    if chosen.list:
        for cell in planned:
            print(f"{'done' if record.figures(cell) else '    '} {cell}")
        return 0

    def finished(cell: Cell) -> None:
        results = json.loads((cell.folder / "results.json").read_text(encoding="utf-8"))
        record.keep(cell, figures.reached(cell.stage, results))

    failed: list[Cell] = []
    if not chosen.show:
        try:
            failed = run_all(missing, chosen.jobs, finished, lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            print("stopped; the same command continues", file=sys.stderr)
            return 130
    table, curves = figures.table(record, size), figures.curves(record, size)
    for name, row in table.items():
        found = ", ".join(f"{title} {figure}" for title, figure in row.items())
        print(f"{ROWS[name].title:28} {found or 'nothing yet'}")
    if chosen.page:
        command = f"python -m benchmarks.ablation --size={chosen.size} --jobs={chosen.jobs}"
        print(page.write(chosen.page, command, size, table, curves))
    for cell in failed:
        print(f"failed or not started: {cell}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
