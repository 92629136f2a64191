"""The site: what is made of the pages before they become HTML, and that each has its place."""

import re

import pytest

from docs.hooks import equations, outside, reference
from tests.helpers.pages import DOCS, FENCED, PAGES, ROOT, each_page, read

NAVIGATION = set(re.findall(r": (\S+\.md)$", read(ROOT / "mkdocs.yml"), re.MULTILINE))


def test_every_page_has_its_place_and_every_place_a_page():
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert NAVIGATION - outside.PAGES.keys() == pages
    assert outside.PAGES.keys() <= NAVIGATION


def test_the_equations_of_the_paper_stand_on_one_page_once():
    tags = {page.name: re.findall(r"\\tag\{(\w+)\}", read(page)) for page in PAGES}
    assert {name: found for name, found in tags.items() if found} == {"method.md": [*"1234567"]}


@pytest.mark.parametrize("number", range(1, 8))
def test_an_equation_stands_beside_its_function(number):
    sections = read(DOCS / "method.md").split("\n## ")
    (section,) = [text for text in sections if f"\\tag{{{number}}}" in text]
    assert re.search(r"`albef_jax\.(losses|train)\.\w+\.\w+`", section)


@each_page
def test_equations_are_written_so_that_the_site_draws_them_too(page):
    prose = re.sub(r"\$`[^`]+`\$", "", FENCED.sub("", read(page)))
    assert "$" not in re.sub(r"`[^`\n]+`", "", prose)
    assert "$$" not in prose


TEXT = """Where $`a_1 * b_1`$ is

```math
c = \\frac{a}{b} \\tag{4}
```

and in a shell:

```sh
echo $`date`$
```
"""


def test_equations_become_mathml_and_other_code_stays():
    text, found = equations.cut_out(TEXT)
    assert "$`a_1" not in text and "\\frac" not in text and "echo $`date`$" in text
    assert found[0].startswith("<math") and "<msub>" in found[0]
    assert "<mfrac>" in found[1] and '<span class="number">(4)</span>' in found[1]
    assert "tag" not in found[1]


def test_equations_are_put_back_displayed_ones_in_place_of_their_paragraph():
    text, found = equations.cut_out(TEXT)
    marks = [line for line in text.splitlines() if "\ue000" in line]
    html = equations.put_back("".join(f"<p>{line}</p>" for line in marks), found)
    assert html == f"<p>Where {found[0]} is</p>{found[1]}"


@pytest.mark.parametrize(
    ("page", "target", "expected"),
    [
        ("index.md", "docs/data.md", "data.md"),
        ("index.md", "docs/images/page.png", "images/page.png"),
        ("index.md", "LICENSE", "repository/LICENSE"),
        ("data.md", "../configs/vqa.py", "repository/configs/vqa.py"),
        ("data.md", "../README.md", "index.md"),
        ("index.md", "CONTRIBUTING.md", "contributing.md"),
        ("contributing.md", "docs/design.md", "design.md"),
        ("data.md", "tasks/vqa.md", "tasks/vqa.md"),
        ("tasks/vqa.md", "../data.md", "../data.md"),
        ("tasks/vqa.md", "nlvr.md", "nlvr.md"),
        ("tasks/vqa.md", "../../configs/vqa.py", "../repository/configs/vqa.py"),
        ("data.md", "https://example.org", "https://example.org"),
    ],
)
def test_links_lead_to_the_same_thing_in_the_site(page, target, expected):
    assert outside.moved(target, page) == expected
    assert outside.links_moved(f"[x]({target}#y)", page) == f"[x]({expected}#y)"
    assert outside.links_moved("[x](#y)", page) == "[x](#y)"


def test_names_lead_to_the_page_that_explains_them():
    known = {name: module for module in reference.modules() for name in reference.names(module)}
    assert known["albef_jax.inference.model.Model.ground"] == "albef_jax.inference.model"
    text = "`albef_jax.inference.model.Model.ground`, `albef_jax.models.vit`, `albef_jax.nothing`"
    assert reference.names_linked(text, "tasks/vqa.md", known) == (
        "[`albef_jax.inference.model.Model.ground`][albef_jax.inference.model.Model.ground], "
        "[`albef_jax.models.vit`](../api/albef_jax.models.vit.md), `albef_jax.nothing`"
    )
    linked = "[`albef_jax.load`](python.md)"
    assert reference.names_linked(linked, "questions.md", known) == linked
    code = "```python\n`albef_jax.data.images.decode`\n```"
    assert reference.names_linked(code, "questions.md", known) == code


def test_every_module_has_a_place_in_the_navigation():
    modules = reference.modules()
    assert {"albef_jax.main", "albef_jax.data.scenes.world.draw"} <= set(modules)
    placed = re.findall(r"'(api/[^']+)'", str(reference.tree(modules)))
    assert sorted(placed) == sorted(map(reference.page_of, modules))
