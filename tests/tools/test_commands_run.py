"""The quick commands of README and pages, copied from there and run in an empty directory.

Whole runs get the options of a very small one behind them; the rest runs as it is written.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import albef_jax
from albef_jax.data.scenes.source import ScenesSource
from tests.helpers.pages import DOCS, ROOT, SNIPPET, first_cells, read
from tests.helpers.processes import quick_start
from tests.helpers.tar_files import sample, shard

README = ROOT / "README.md"
# Blocks for a shell, lines behind a prompt, and indented commands.
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (python -m [^\n\[]*)$", re.MULTILINE)
TINY = {
    "model.image_depth": 1,
    "model.text_depth": 1,
    "model.fusion_depth": 1,
    "model.unroll": 1,
    "train.steps": 2,
    "train.batch_size": 8,
    "evaluation.batch_size": 8,
    "evaluation.examples": 1,
}
PRETRAINING = TINY | {
    "train.contrast_group": 8,
    "train.queue_size": 16,
    "evaluation.limit": 8,
    "evaluation.rerank": 2,
}
OWN = PRETRAINING | {"model.image_size": 96, "model.image_width": 64, "model.text_width": 64}
OWN |= {"model.image_heads": 2, "model.text_heads": 2, "model.text_intermediate": 64}


def commands(page: Path) -> list[str]:
    """What a page tells to type, continued lines joined, without prompts and remarks."""
    text = read(page)
    lines = [line for block in BLOCK.findall(text) for line in _lines(block)]
    return [*lines, *INDENTED.findall(text)]


def _lines(block: str) -> list[str]:
    joined = block.replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").partition(" #")[0] for line in joined]


def the_one(page: Path, start: str) -> list[str]:
    """The arguments of the only command of a page that begins so, after `python -m`."""
    found = {line for line in commands(page) if line.startswith(f"python -m {start}")}
    (line,) = found
    return shlex.split(line)[2:]


def train(page: Path, start: str, options: dict, folder: Path) -> Path:
    """Run a command of `albef_jax.main` as a process of its own, made small; its workdir."""
    words = the_one(page, start) + [
        f"--config.{option}={value}" for option, value in options.items()
    ]
    environment = os.environ | quick_start() | {"PYTHONPATH": str(ROOT)}
    del environment["NPROC"]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    workdir = folder / words[words.index("--workdir") + 1]
    assert done.stdout.splitlines()[-1] == (workdir / "report" / "index.html").as_uri()
    return workdir


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """What pages take for granted: images, annotations, and a run of the demo."""
    folder = tmp_path_factory.mktemp("desk")
    scenes = ScenesSource("train", size=8, image_size=48)
    items = []
    for number in range(8):
        name = f"{number}.png"
        for parent in ("images", "DIR", "photos"):
            (folder / parent).mkdir(exist_ok=True)
            Image.fromarray(scenes[number].image).save(folder / parent / name)
        items.append({"image": name, "caption": list(scenes[number].captions)})
    for name in ("a.jpg", "b.jpg", "photo.jpg"):
        Image.fromarray(scenes[0].image).save(folder / name)
    for name in ("a.json", "b.json", "held_out.json", "mine.json"):
        (folder / name).write_text(json.dumps(items))
    (folder / "captions.txt").write_text("a red ball\ntwo stars\n")
    for number in range(2):
        shard(folder / "shards" / f"{number:05}.tar", sample(2 * number), sample(2 * number + 1))
    workdir = train(
        README, "albef_jax.main --config configs/pretrain.py --workdir", PRETRAINING, folder
    )
    shutil.copytree(workdir, folder / "runs" / "world")  # for what compares runs
    return folder


def run(page: Path, start: str, desk: Path, monkeypatch) -> None:
    """Run a command of tools in this process; a tool that fails is an error."""
    name, *arguments = the_one(page, start)
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    assert importlib.import_module(name).main() in (0, None)


def test_the_page_lists_everything_in_a_workdir(desk):
    page = DOCS / "pretraining.md"
    listed = {entry.partition("/")[0] for entry in first_cells(page, "## A workdir")}
    held = {path.name for path in (desk / "runs" / "demo").iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "results.json", "report"} <= held
    assert held <= listed


@pytest.mark.slow
def test_training_on_own_pairs(desk):
    workdir = train(README, "albef_jax.main --config configs/pretrain.py:local", OWN, desk)
    assert json.loads((workdir / "results.json").read_text())["retrieval"]["images"] == 8


@pytest.mark.slow
def test_a_downstream_task_from_the_demo(desk):
    options = TINY | {"evaluation.limit": 8, "evaluation.rank": 5}
    workdir = train(README, "albef_jax.main --config configs/vqa.py", options, desk)
    assert "overall" in json.loads((workdir / "results.json").read_text())["answers"]


SNIPPETS = [
    (page, text) for page in (README, DOCS / "python.md") for text in SNIPPET.findall(read(page))
]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets_on_trained_models_run(number, desk, monkeypatch):
    page, text = SNIPPETS[number]
    monkeypatch.chdir(desk)
    if "exported/" in text:
        run(DOCS / "python.md", "tools.export_encoders", desk, monkeypatch)
    space: dict = {"__name__": "snippet"}
    exec(compile(text, f"{page.name}, snippet {number + 1}", "exec"), space)
    assert {"model", "encoder"} & space.keys()
    if "found" in space:
        assert space["found"].heatmap.shape == (48, 48)
        assert [word for word, _ in space["found"].words][:3] == ["the", "red", "ball"]


QUICK = [
    (README, "tools.search build"),
    (README, "tools.search runs/index"),
    (DOCS / "search.md", "tools.search build indexes/photos"),
    (DOCS / "search.md", "tools.search indexes/photos"),
    (DOCS / "search.md", "tools.search build indexes/captions"),
    (DOCS / "search.md", "tools.search indexes/captions"),
    (DOCS / "search.md", "tools.embed scenes --images=photos"),
    (DOCS / "search.md", "tools.embed scenes --images='shards"),
    (DOCS / "search.md", "tools.embed scenes --captions='shards"),
    (DOCS / "search.md", "tools.search build indexes/large"),
    (DOCS / "checkpoints.md", "tools.convert_checkpoint runs/demo demo.pth"),
    (DOCS / "checkpoints.md", "tools.convert_checkpoint runs/demo out/model.safetensors"),
    (DOCS / "data.md", "tools.check_data"),
    (DOCS / "data.md", "tools.pack_dataset --config configs/pretrain.py:local --out=packed/mine"),
    (DOCS / "questions.md", "tools.check_data"),
    (DOCS / "pretraining.md", "tools.compare_runs"),
]


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize(("page", "start"), QUICK, ids=[start for _, start in QUICK])
def test_a_tool_runs_as_written(page, start, desk, monkeypatch, capsys):
    if "search" in start:
        pytest.importorskip("faiss")
    monkeypatch.setattr("sys.stdin", None)  # nothing may ask
    run(page, start, desk, monkeypatch)
    if start.endswith("demo.pth"):
        assert albef_jax.load(desk / "demo.pth", vocab="scenes").task == "pretrain"
    assert "error" not in capsys.readouterr().err
