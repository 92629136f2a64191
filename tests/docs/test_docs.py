"""The documentation: links lead somewhere, names exist, snippets run, defaults are real."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from albef_jax.config.defaults import default
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.report.panels import PANELS
from albef_jax.report.rendering import COUNTS
from albef_jax.workdir.config_file import flatten
from tests.helpers.pages import (
    CODE,
    DOCS,
    FENCED,
    PAGES,
    ROOT,
    SNIPPET,
    each_page,
    first_cells,
    read,
    rows,
)
from tests.helpers.recipes import recipe

PRETRAINING, FINETUNING = DOCS / "pretraining.md", DOCS / "finetuning.md"
OPTIONS = {task: flatten(default(task).to_dict()) for task in TASKS}
TRAINED = [task for task in TASKS if task_spec(task).trains]
DOWNSTREAM = [task for task in TASKS if task != "pretrain"]
SECTIONS = "|".join(
    sorted({option.split(".")[0] for option in OPTIONS["pretrain"] if "." in option})
)
# Text assignment is a step of NLVR2, and on its page.
TASK_PAGES = {task: DOCS / "tasks" / f"{task.removesuffix('_pretrain')}.md" for task in DOWNSTREAM}

SHELL = re.compile(r"^```(?:bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
RECIPE = re.compile(r"configs/([a-z_]+)\.py(?::(\w+))?")
OVERRIDE = re.compile(r"--config\.(\w+(?:\.\w+)*)=")

each_task = pytest.mark.parametrize("task", DOWNSTREAM)


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


def test_all_pages_are_found():
    assert {page.name for page in PAGES} >= {"README.md", "ledger.md", "retrieval.md"}


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
    assert not broken(DOCS / "tasks" / "vqa.md", "../data.md#your-own-pairs")


@each_task
def test_the_page_of_a_task_can_be_found(task):
    for start in (ROOT / "README.md", FINETUNING):
        targets = [start.parent / target for target in LINK.findall(read(start))]
        assert TASK_PAGES[task] in targets


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
    assert is_there("albef_jax.losses.matching.itm_loss")
    assert not is_there("albef_jax.losses.matching.no_such_loss")
    assert not is_there("albef_jax.no_such_module.itm_loss")


@each_page
def test_paths_in_the_repository_exist(page):
    pattern = re.compile(r"(?:albef_jax|benchmarks|configs|docs|tests|tools)/[\w./-]*")
    paths = {span for span in code_spans(page) if pattern.fullmatch(span)}
    assert not sorted(path for path in paths if not (ROOT / path).exists())


@each_page
def test_no_unknown_option(page):
    pattern = re.compile(rf"({SECTIONS})((?:\.\w+)+)(?:=.*)?")
    matches = filter(None, map(pattern.fullmatch, code_spans(page)))
    named = {match[1] + match[2] for match in matches} | set(OVERRIDE.findall(read(page)))
    named -= {"model.safetensors"}  # a file of a release
    assert not sorted(named - set().union(*OPTIONS.values()))


def presets(name: str) -> set[str]:
    """The presets that a file says it has."""
    with pytest.raises(ValueError, match="no preset") as error:
        recipe(name, "no such preset")
    return set(ast.literal_eval(str(error.value).partition("it has ")[2]))


@each_page
def test_every_recipe_that_is_named_loads(page):
    for name, preset in RECIPE.findall(read(page)):
        assert recipe(name, preset).task == name


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, continued ones joined."""
    blocks = SHELL.findall(read(page))
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@each_page
def test_a_command_overrides_options_of_its_own_task(page):
    for line in commands(page):
        for name, preset in RECIPE.findall(line):
            options = flatten(recipe(name, preset).to_dict())
            assert set(OVERRIDE.findall(line)) <= options.keys(), line


def test_there_are_commands_with_overrides():
    lines = [line for page in PAGES for line in commands(page)]
    assert sum("--config.init.checkpoint=" in line for line in lines) > len(DOWNSTREAM)


def value_of(cell: str) -> Any:
    return ast.literal_eval(cell.strip("`"))


def option_rows(page: Path, heading: str) -> dict[str, list[str]]:
    found = [(row[0].strip("`"), row[1:]) for row in rows(page, heading)]
    assert len(found) == len(dict(found)), "an option has two rows"
    return dict(found)


def told_of_pretraining() -> dict[str, Any]:
    table = option_rows(PRETRAINING, "## Every option")
    return {option: value_of(cells[0]) for option, cells in table.items()}


def test_every_option_is_in_the_table_with_its_default():
    assert told_of_pretraining() == OPTIONS["pretrain"]


@pytest.mark.parametrize("task", [task for task in TASKS if task not in TRAINED])
def test_the_options_of_a_task_without_training_are_on_its_page(task):
    told = {
        option: value_of(cells[0])
        for option, cells in option_rows(TASK_PAGES[task], "## Options").items()
    }
    common = told_of_pretraining()
    own = {option: value for option, value in OPTIONS[task].items() if option not in common}
    changed = {
        option: value
        for option, value in OPTIONS[task].items()
        if option in common and common[option] != value and option != "task"
    }
    assert told == own | changed


@pytest.mark.parametrize("task", [task for task in TRAINED if task != "pretrain"])
def test_the_options_of_a_task_are_in_both_tables_together(task):
    columns = read(FINETUNING).partition("| option | ")[2].partition(" | meaning |")[0].split(" | ")
    told = told_of_pretraining()
    for option, cells in option_rows(FINETUNING, "## Every option, by task").items():
        assert len(cells) == len(columns) + 1, option
        cell = cells[columns.index(task)]
        if cell == "–":
            told.pop(option, None)
        elif cell != "same":
            told[option] = value_of(cell)
    assert told == OPTIONS[task]


def test_every_recipe_of_pretraining_is_in_the_table():
    assert first_cells(PRETRAINING, "## Recipes") == presets("pretrain")


@each_task
def test_every_recipe_of_a_task_is_in_the_table_of_its_page(task):
    cells = first_cells(TASK_PAGES[task], "## Recipes")
    own = {cell for cell in cells if cell.startswith(f"configs/{task}.py")}
    assert own == {f"configs/{task}.py:{preset}" for preset in presets(task)}


@each_task
def test_a_demo_can_start_from_the_demo_of_pretraining(task):
    assert recipe(task).model.to_dict() == recipe("pretrain").model.to_dict()


def test_every_file_of_recipes_is_of_a_task():
    assert {file.stem for file in (ROOT / "configs").glob("*.py")} == set(TASKS)


@each_task
def test_the_page_of_a_task_runs_each_recipe(task):
    """The demo as the bare file."""
    lines = "\n".join(commands(TASK_PAGES[task]))
    run = {preset for name, preset in RECIPE.findall(lines) if name == task}
    assert run == presets(task) - {"demo"} | {""}


def test_the_metrics_that_reports_show_are_in_the_tables():
    shown = {curve.metric for panel in PANELS for curve in panel.curves} | COUNTS.keys()
    told = first_cells(PRETRAINING, "## A workdir")
    assert shown <= told | first_cells(FINETUNING, "## What a workdir holds")


SNIPPETS = SNIPPET.findall(read(DOCS / "data.md"))


def test_there_are_snippets():
    assert SNIPPETS


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = compile(SNIPPETS[number], f"docs/data.md, snippet {number + 1}", "exec")
    exec(code, {"__name__": "snippet"})
