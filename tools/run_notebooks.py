"""Executes notebooks in place, so that their images and figures are current.

Models that the cells train are kept under runs/notebooks and reused.

Examples:
    python -m tools.run_notebooks
    python -m tools.run_notebooks notebooks/01_quickstart.ipynb
"""

import argparse
import sys
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from albef_jax.system.terminal import print_anything

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"


def execute(
    notebook: nbformat.NotebookNode, where: Path, kernel: AsyncKernelManager | None = None
) -> None:
    """Run all cells in `where`; keep their outputs without times.

    Args:
        kernel: to run them in, with what earlier notebooks have imported; by default a new one.

    Raises:
        CellExecutionError: a cell failed; its traceback is in the message.
    """
    options = {"timeout": None, "coalesce_streams": True}
    resources = {"metadata": {"path": str(where)}}
    client = NotebookClient(notebook, kernel, resources=resources, **options)
    client.execute()
    if client.kc is not None:  # it closes only the connections to a kernel of its own
        client.kc.stop_channels()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for kept in cell.outputs if not _is_noise(kept)]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = fewer_colours(output.data["image/png"])


def _is_noise(output: nbformat.NotebookNode) -> bool:
    """Whether this is library output to the terminal, with paths of this machine."""
    return output.output_type == "stream" and output.name == "stderr"


def fewer_colours(png: str) -> str:
    """An image in base 64, with 256 colours: a third of the bytes, without a visible change.

    The colours are chosen for a small maximum error; Pillow's default makes a red heart orange.
    """
    few = Image.Quantize.MAXCOVERAGE
    kept = BytesIO()
    with Image.open(BytesIO(b64decode(png))) as image:
        image.convert("RGB").quantize(256, few).save(kept, "PNG", optimize=True)
    return b64encode(kept.getvalue()).decode()


def main() -> int:
    """Execute and write each notebook; one with a failing cell is left unchanged."""
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m tools.run_notebooks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all of notebooks/")
    for path in parser.parse_args().notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        started = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        try:
            execute(notebook, ROOT)
        except CellExecutionError as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            return 1
        nbformat.write(notebook, path)
        print(f"{path}: {time.perf_counter() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
