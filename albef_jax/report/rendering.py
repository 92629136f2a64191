"""A run's report: one self-contained HTML file, without network or script.

Each task has a template under `templates/`, which extends `base.html` and fills its blocks with the
parts of `parts.html`.
"""

import json
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import jax
from jinja2 import Environment, PackageLoader, StrictUndefined

from albef_jax.evaluate.compositional import in_words
from albef_jax.observability.metrics import read_lines
from albef_jax.report.bounds import BOUNDS, with_bounds
from albef_jax.report.charts import Chart, Curve, Lines, Panel, draw
from albef_jax.report.html import data_uri, mark
from albef_jax.report.overlays import boxes_over, heat_over
from albef_jax.report.panels import PANELS
from albef_jax.system import atomic
from albef_jax.version import __version__
from albef_jax.workdir import history

REPORT = "report/index.html"  # in the workdir
PACKAGES = ("jax", "flax", "optax", "numpy")

# Counts in a log line, with their descriptions.
COUNTS = {
    "bad_samples": "images or captions that could not be used, and were replaced",
    "pairs_without_negative": "pairs without a negative, at most, in a logged step",
    "mlm_overflow": "masked words that found no slot, at most, in a logged step",
}


def render(template: str, workdir: Path, results: dict, command: str, **context) -> Path:
    """Write `workdir/report/index.html` from a template.

    Args:
        workdir: holds `config.json` and, after at least one log line, `metrics.jsonl`.
        results: `task`, `preset`, `step`, `evaluated_on`, and the task's figures.
        command: the command line of the run.
        context: further values for the template.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: `workdir` has no `config.json`.
    """
    lines = read_lines(workdir / "metrics.jsonl")
    config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    text = (
        environment()
        .get_template(template)
        .render(
            results=results,
            command=command,
            config=config,
            charts=draw((*PANELS, *BOUNDS), with_bounds(lines, config)),
            counts=counts(lines),
            validation=validation_charts(results),
            history=history.read(workdir),
            software=software(),
            **context,
        )
    )
    path = workdir / REPORT
    path.parent.mkdir(exist_ok=True)
    atomic.write_text(path, text)
    return path


@cache
def environment() -> Environment:
    """The templates with their filters. Captions are untrusted text, so everything is escaped."""
    loader = PackageLoader("albef_jax", "report/templates")
    found = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "data_uri": data_uri,
        "mark": mark,
        "pretty_json": pretty_json,
        "heat_over": heat_over,
        "boxes_over": boxes_over,
        "in_words": in_words,
    }
    return found


def pretty_json(value: dict) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def validation_charts(results: dict) -> list[Chart]:
    """The scores of the steps that were judged while training; none without."""
    judged = results.get("validation")
    if not judged:
        return []
    names = list(dict.fromkeys(name for one in judged["steps"] for name in one["scores"]))
    curves = tuple(Curve(name, name.replace("_", " ")) for name in names)
    lines = [{"step": one["step"], **one["scores"]} for one in judged["steps"]]
    return draw([Panel("Scores while training, %", curves)], lines)


def counts(lines: Lines) -> list[tuple[str, int]]:
    """Problems that did not stop the run: name and largest logged number."""
    found = []
    for metric, name in COUNTS.items():
        values = [line[metric] for line in lines if line.get(metric) is not None]
        if values:
            found.append((name, int(max(values))))
    return found


def software() -> list[tuple[str, str]]:
    """Versions by name, and the devices."""
    versions = [(name, metadata.version(name)) for name in PACKAGES]
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    python = ("Python", platform.python_version())
    return [("albef_jax", __version__), *versions, python, ("devices", devices)]
