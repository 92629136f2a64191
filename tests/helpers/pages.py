"""The pages of the documentation, and what is taken out of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def read(page: Path) -> str:
    return page.read_text("utf-8")


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the rows under a heading whose first cell is code."""
    section = read(page).partition(f"{heading}\n")[2].partition("\n#")[0]
    lines = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def first_cells(page: Path, heading: str) -> set[str]:
    """The code spans in the first column of the tables under a heading."""
    return {span for row in rows(page, heading) for span in CODE.findall(row[0])}
