"""Compares runs: a table on the terminal, and a page with their curves overlaid.

Figures come from `results.json`, differing settings from `config.json`, curves from
`metrics.jsonl`. The page is one self-contained file.

Examples:
    python -m tools.compare_runs runs/a runs/b
    python -m tools.compare_runs slow=runs/a/pretrain fast=runs/b/pretrain --out=rates.html
"""

import argparse
import sys
from pathlib import Path

from albef_jax.system import atomic
from albef_jax.system.output_paths import check_file
from albef_jax.system.terminal import print_anything


def main() -> int:
    """Compare; errors are one line each, with exit code 2."""
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[NAME=]DIR",
        help="workdirs of one task, or their addresses in a bucket",
    )
    what = "the page to write; comparison.html by default"
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), help=what)
    given = parser.parse_args()
    from albef_jax.report.comparison import compare, lines, page
    from albef_jax.report.runs import read_runs

    try:
        check_file(given.out, "--out", make_folder=True)
        found = compare(read_runs(given.runs))
        given.out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(given.out, page(found))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*lines(found), "", given.out.resolve().as_uri(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
