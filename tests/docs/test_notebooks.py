"""The notebooks: all cells run on tiny settings, and what is committed shows what they give."""

import os
import re
from base64 import b64decode, b64encode
from io import BytesIO

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from PIL import Image

from tests.helpers.processes import quick_start
from tools.run_notebooks import NOTEBOOKS, execute, fewer_colours

NAMES = (
    "01_quickstart",
    "02_finetune_your_pairs",
    "03_pretrain_from_scratch",
    "04_convert_and_explain",
)
LARGEST = 1_500_000  # bytes; GitHub stops showing notebooks that are much larger
TINY = {
    "ALBEF_STEPS": "2",
    "ALBEF_BATCH": "8",
    "ALBEF_PAIRS": "16",
}
MACHINE = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|usr|mnt|content)/")

each = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def outputs(name: str) -> list[nbformat.NotebookNode]:
    return [output for cell in read(name).cells for output in cell.get("outputs", [])]


def code(name: str) -> list[str]:
    return [cell.source for cell in read(name).cells if cell.cell_type == "code"]


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(NAMES)


@each
def test_the_first_cell_opens_it_in_colab(name):
    first = read(name).cells[0]
    assert first.cell_type == "markdown"
    address = r"https://colab\.research\.google\.com/github/(\w+)/albef_jax/blob/main/notebooks/"
    assert re.match(rf"\[!\[Open in Colab\]\(\S+\)\]\({address}{name}\.ipynb\)", first.source)


@each
def test_the_first_code_installs_and_is_the_same_in_all(name):
    assert "find_spec" in code(name)[0]
    assert code(name)[0] == code(NAMES[0])[0]


def test_badge_and_install_cell_name_the_same_repository():
    owners = set()
    for name in NAMES:
        text = read(name).cells[0].source + code(name)[0]
        owners |= set(re.findall(r"github(?:\.com)?/(\w+)/albef_jax", text))
    assert len(owners) == 1


@each
def test_what_is_committed_was_executed_without_error(name):
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(name) if output.output_type == "error"]


@each
def test_images_are_committed_and_the_file_is_small(name):
    assert [one for one in outputs(name) if "image/png" in one.get("data", {})]
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < LARGEST


def test_images_get_smaller_and_keep_their_colours():
    rng = np.random.default_rng(0)
    image = rng.normal((225, 205, 160), 8, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    image[:10, :10] = 205, 45, 40
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    png = b64encode(file.getvalue()).decode()
    smaller = fewer_colours(png)
    assert len(smaller) < 0.6 * len(png)
    kept = np.asarray(Image.open(BytesIO(b64decode(smaller))).convert("RGB"), np.int32)
    assert np.abs(kept - image).max() < 20


@each
def test_no_path_of_a_machine(name):
    shown = [
        one.get("text", "") + str(one.get("data", {}).get("text/plain", ""))
        for one in outputs(name)
    ]
    text = "\n".join([*(cell.source for cell in read(name).cells), *shown])
    assert not MACHINE.search(text)


def test_a_path_of_a_machine_would_be_noticed():
    assert MACHINE.search("kept in /home/someone/runs")
    assert not MACHINE.search("https://example.org/home/page")


@each
def test_links_in_the_text_resolve(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    targets = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in link]
    assert not [link for link in targets if not (NOTEBOOKS / link.partition("#")[0]).exists()]


@pytest.fixture(scope="module")
def kernel():
    """One for all: what they import takes seconds, and is the same."""
    manager = AsyncKernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (TINY | quick_start()).items():
            patch.setenv(variable, value)
        root = str(NOTEBOOKS.parent)
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        yield manager
    run_sync(manager.shutdown_kernel)(now=True)


LEFT_OUT = (
    # Two recipes of four: each is a program of its own.
    re.compile(r'\n    "without (?:MLM|ITM)": "\w+,\w+",'),
    # Four colours of eight: a fourteenth of the images.
    re.compile(r'\n    "(?:orange|purple|pink|black)": \(\d+, \d+, \d+\),'),
)


# Without the names of the notebooks before; see `tests/conftest.py` for the numbers.
BEGIN = "%reset -f\nimport gc\ngc.set_threshold(50_000, 20, 20)"


def made_smaller(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without some lines of tables in it."""
    for lines in LEFT_OUT:
        cell.source = lines.sub("", cell.source)
    return cell


@each
def test_every_cell_runs_on_tiny_settings(name, tmp_path, kernel):
    notebook = read(name)
    notebook.cells = [made_smaller(cell) for cell in notebook.cells]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN))
    execute(notebook, tmp_path, kernel)  # raises where a cell does
    shown = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert sum("image/png" in one.get("data", {}) for one in shown) >= 3
