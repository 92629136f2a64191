"""Draws the scores of a run against its steps, beside the loss: `python -m benchmarks.curve RUN`.

The scores are those of evaluation while training (`evaluation.every`), from `validation.jsonl`.

Examples:
    python -m benchmarks.curve runs/easy_vqa --out=docs/images/easy_vqa.svg
    python -m benchmarks.curve runs/retrieval --scores itm_text_r1 itm_image_r1 --out=curve.png
"""

import argparse
import sys
from pathlib import Path

from albef_jax.observability.metrics import read_lines
from albef_jax.workdir.trajectory import Judged, read


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.curve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="its workdir")
    parser.add_argument("--scores", nargs="+", help="names; all")
    parser.add_argument("--out", type=Path, required=True, help="picture: .svg, .png or .pdf")
    return parser.parse_args(given)


def draw(out: Path, lines: list[dict], judged: list[Judged], scores: list[str]) -> None:
    """Draw the loss and the scores, each against the step.

    Args:
        lines: of `metrics.jsonl`.
        scores: names.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "albef_jax"  # equal figures give equal files
    mpl.rcParams["svg.fonttype"] = "none"  # texts, not outlines: a fraction of the size
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    loss, found = figure.subplots(1, 2)
    loss.plot([line["step"] for line in lines], [line["loss"] for line in lines])
    loss.set(ylabel="training loss", yscale="log")
    for name in scores:
        known = [(one.step, one.scores[name]) for one in judged if one.scores.get(name) is not None]
        found.plot(*zip(*known, strict=True), marker="o", label=name.replace("_", " "))
    found.set_ylabel("%" if len(scores) > 1 else f"{scores[0].replace('_', ' ')} (%)")
    if len(scores) > 1:
        found.legend(frameon=False)
    for axes in (loss, found):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def main(given: list[str] | None = None) -> int:
    """Draw, and say where; 1 if there is nothing to draw."""
    chosen = arguments(given)
    judged, lines = read(chosen.run), read_lines(chosen.run / "metrics.jsonl")
    known = list(dict.fromkeys(name for one in judged for name in one.scores))
    scores = chosen.scores or known
    unknown = [name for name in scores if name not in known]
    if not judged or not lines or unknown:
        what = (
            f"no score {', '.join(unknown)}; there are {', '.join(known)}"
            if judged
            else ("no step was judged while training; set evaluation.every")
        )
        print(f"{chosen.run}: {what}", file=sys.stderr)
        return 1
    draw(chosen.out, lines, judged, scores)
    print(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
