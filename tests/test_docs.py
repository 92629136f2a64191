"""The documentation agrees with the code: links, names, paths, knobs, recipes, fields, snippets."""

import ast
import importlib
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from albef_jax.checkpoints.workdir import flatten
from albef_jax.config import default
from albef_jax.evaluate.panels import PANELS
from albef_jax.evaluate.report import COUNTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [page for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))) if page.exists()]
KNOBS = flatten(default().to_dict())
SECTIONS = "|".join(sorted({knob.split(".")[0] for knob in KNOBS if "." in knob}))

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(page: Path) -> str:
    return page.read_text("utf-8")


def code_spans(page: Path) -> list[str]:
    return CODE.findall(FENCED.sub("", read(page)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", read(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(ROOT) or not file.exists():
        return True
    return bool(anchor) and anchor not in anchors(file)


@each_page
def test_relative_links_resolve(page):
    targets = LINK.findall(FENCED.sub("", read(page)))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert not [target for target in local if broken(page, target)]


def test_a_broken_link_would_be_noticed():
    page = DOCS / "design.md"
    assert broken(page, "no_such_page.md")
    assert broken(page, "data.md#no-such-heading")
    assert broken(page, "../../outside.md")
    assert not broken(page, "data.md#your-own-pairs")


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@each_page
def test_dotted_names_exist(page):
    spans = (span.partition("(")[0] for span in code_spans(page))
    names = {span for span in spans if re.fullmatch(r"albef_jax(\.\w+)+", span)}
    assert not sorted(name for name in names if not is_there(name))


def test_a_wrong_name_would_be_noticed():
    assert is_there("albef_jax.objectives.matching.itm_loss")
    assert not is_there("albef_jax.objectives.matching.no_such_loss")
    assert not is_there("albef_jax.no_such_module.itm_loss")


@each_page
def test_paths_in_the_repository_exist(page):
    pattern = re.compile(r"(?:albef_jax|configs|docs|tests|tools)/[\w./-]*")
    paths = {span for span in code_spans(page) if pattern.fullmatch(span)}
    assert not sorted(path for path in paths if not (ROOT / path).exists())


@each_page
def test_no_unknown_knob(page):
    pattern = re.compile(rf"({SECTIONS})((?:\.\w+)+)(?:=.*)?")
    matches = filter(None, map(pattern.fullmatch, code_spans(page)))
    named = {match[1] + match[2] for match in matches}
    named |= set(re.findall(r"--config\.(\w+(?:\.\w+)*)=", read(page)))
    assert not sorted(named - KNOBS.keys())


def test_every_knob_is_in_the_table_with_its_default():
    section = read(DOCS / "pretraining.md").partition("## Every knob")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| .+ \|$", section, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a knob has two rows"
    told = {knob: ast.literal_eval(value) for knob, value in rows}
    assert told == KNOBS


def first_cells(page: Path, heading: str) -> set[str]:
    """The code spans in the first column of the table under a heading."""
    section = read(page).partition(f"{heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", section, re.MULTILINE)
    return {span for cell in cells for span in CODE.findall(cell)}


def test_every_recipe_is_in_the_table():
    get_config = runpy.run_path(str(ROOT / "configs" / "pretrain.py"))["get_config"]
    with pytest.raises(ValueError, match="no preset") as error:
        get_config("no such preset")
    known = ast.literal_eval(str(error.value).partition("it has ")[2])
    assert first_cells(DOCS / "pretraining.md", "## Recipes") == set(known)


def test_the_metrics_that_reports_show_are_in_the_table():
    shown = {curve.metric for panel in PANELS for curve in panel.curves} | COUNTS.keys()
    assert shown <= first_cells(DOCS / "pretraining.md", "## A workdir")


SNIPPETS = SNIPPET.findall(read(DOCS / "data.md"))


def test_there_are_snippets():
    assert SNIPPETS


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = compile(SNIPPETS[number], f"docs/data.md, snippet {number + 1}", "exec")
    exec(code, {"__name__": "snippet"})
