"""The table and the curves as a page of the documentation.

What people have written under the heading `_WRITTEN` stays when the page is made anew.
"""

import textwrap
from pathlib import Path

from benchmarks.ablation.figures import COLUMNS, CURVE, Figure
from benchmarks.ablation.plan import CURVES, ROWS, Size

Table = dict[str, dict[str, Figure]]
Curves = dict[str, dict[str, dict[float, Figure]]]
_DRAWING = "ablation_noise.svg"
_WRITTEN = "## What it shows"


def write(folder: Path, command: str, size: Size, table: Table, curves: Curves) -> Path:
    """Write `ablation.md` and its drawing under `folder`, as far as there are figures."""
    page = folder / "ablation.md"
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    written = before[before.find(_WRITTEN) :].rstrip() if _WRITTEN in before else _WRITTEN
    drawn = draw(folder / "images" / _DRAWING, curves)
    text = "\n".join(
        [
            "# Ablation",
            "",
            _wrapped(
                "The rows of the paper's Table 1 on the built-in world: a small model, "
                f"{size.options['pretrain']['train.steps']} steps of "
                f"{size.options['pretrain']['train.batch_size']} pairs, {100 * size.noise:g} % of "
                "the captions web-like, at most three objects a scene. Retrieval is the mean of "
                "R@1, R@5 and R@10 after fine-tuning, as in the paper; the others are accuracies "
                "on scenes that show combinations of colour and shape that training never shows. "
                f"{_seeds(size, table)} An empty cell has not been run."
            ),
            "",
            *_rows(table),
            "",
            "```sh",
            command,
            "```",
            *(_noise(curves) if drawn else []),
            "",
            written,
        ]
    )
    page.write_text(text + "\n", encoding="utf-8")
    return page


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120)


def _seeds(size: Size, table: Table) -> str:
    counts = sorted({len(figure.values) for row in table.values() for figure in row.values()})
    if counts == [1]:
        return f"Percent, of one seed so far; {size.seeds} are planned, and one says little."
    told = " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))
    so_far = "" if counts == [size.seeds] else f" so far, of {size.seeds}"
    return f"Percent, mean ± standard deviation over the seeds; {told} seeds a cell{so_far}."


def _rows(table: Table) -> list[str]:
    titles = [measure.title for measure in COLUMNS]
    lines = [f"| | {' | '.join(titles)} |", "| --- " * (len(titles) + 1) + "|"]
    for name, row in ROWS.items():
        cells = [str(table[name].get(title, "")) for title in titles]
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return lines


def _noise(curves: Curves) -> list[str]:
    shares = sorted(
        {noise for by_row in curves.values() for row in by_row.values() for noise in row}
    )
    lines = [
        "",
        "## Noise",
        "",
        _wrapped(
            "Pre-training without and with distillation, without fine-tuning, by the share of "
            "web-like captions: the mean of R@1, R@5 and R@10, re-ranked by ITM."
        ),
        "",
        f"![Retrieval by the share of web-like captions](images/{_DRAWING})",
        "",
        f"| | {' | '.join(f'{share:g}' for share in shares)} |",
        "| --- " * (len(shares) + 1) + "|",
    ]
    for title, by_row in curves.items():
        for name in CURVES:
            cells = [str(by_row[name].get(share, "")) for share in shares]
            lines.append(f"| {title}, {_TITLES[name]} | {' | '.join(cells)} |")
    return lines


_TITLES = {"hard": "without", "distilled": "with distillation"}


def draw(path: Path, curves: Curves) -> bool:
    """Draw the curves with their spread; False where there is nothing to draw."""
    if not any(row for by_row in curves.values() for row in by_row.values()):
        return False
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    mpl.rcParams["svg.hashsalt"] = "albef_jax"  # equal figures give equal files
    drawing = Drawing(figsize=(7, 2.8), layout="constrained")
    for axes, measure in zip(drawing.subplots(1, len(CURVE), sharey=True), CURVE, strict=True):
        for name in CURVES:
            row = sorted(curves[measure.title][name].items())
            shares, found = [share for share, _ in row], [figure for _, figure in row]
            spread = [figure.spread or 0 for figure in found]
            means = [figure.mean for figure in found]
            axes.errorbar(shares, means, spread, marker="o", capsize=3, label=_TITLES[name])
        axes.set_title(measure.title, fontsize=10)
        axes.set_xlabel("share of web-like captions")
    axes.legend(frameon=False)
    drawing.axes[0].set_ylabel("mean of R@1, 5, 10 (%)")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})
    return True
