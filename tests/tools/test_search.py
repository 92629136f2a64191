import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("faiss")

import jax

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.models import task_models
from albef_jax.models.config import ModelConfig
from albef_jax.storage.paths import path_of
from tools.search import main

SIZES = {
    "image_size": 32,
    "patch_size": 16,
    "image_width": 16,
    "image_depth": 1,
    "image_heads": 2,
    "text_width": 16,
    "text_heads": 2,
    "text_intermediate": 32,
    "text_depth": 1,
    "fusion_depth": 1,
    "vocab_size": 460,
    "max_positions": 48,
    "embed_dim": 8,
}


@pytest.fixture(scope="module")
def run_and_images(tmp_path_factory):
    """A workdir with a tiny model, and a folder with three images and a broken one."""
    workdir, images = (tmp_path_factory.mktemp(name) for name in ("run", "images"))
    params = task_models.init(ModelConfig(**SIZES), "retrieval", jax.random.key(1))
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(1, {"params": params, "train": {"step": np.int32(1)}})
    config = {"task": "retrieval", "model": SIZES, "data": {"vocab": "scenes", "source": "scenes"}}
    (workdir / "config.json").write_text(json.dumps(config))
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (60, 40), colour).save(images / f"{colour}.png")
    (images / "broken.jpg").write_bytes(b"")
    return workdir, images


@pytest.fixture
def call(monkeypatch, capsys):
    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return called


def test_building_and_searching(call, run_and_images, tmp_path):
    workdir, images = run_and_images
    index, sheet = tmp_path / "index", tmp_path / "sheet.jpg"
    code, out, err = call("build", index, f"--model={workdir}", f"--images={images}")
    assert code == 0 and "3 images, 3 of them encoded now" in out
    assert "1 cannot be used" in out and "left out: broken.jpg" in err
    code, out, err = call(index, "a red ball left of a cube", "--k=12", f"--sheet={sheet}")
    assert code == 0 and "these are all" in err
    heads, *rows = out.splitlines()
    assert heads.split() == ["#", "ITM", "ITC", "name"] and len(rows) == 3
    with Image.open(sheet) as drawn:
        assert drawn.width > 700 and drawn.height > 300
        colours = {colour for _, colour in drawn.convert("P").convert("RGB").getcolors(10**6)}
    assert any(red > 200 and green < 60 and blue < 60 for red, green, blue in colours)
    code, out, _ = call("query", index, "a star", "--json", "--no_rerank", "--k=2")
    assert [hit["itm"] for hit in json.loads(out)] == [None, None]


def test_names_that_the_console_cannot_write(call, run_and_images, tmp_path, monkeypatch):
    """Not UTF-8, and characters that ASCII lacks; the folder of the index has such a name, too."""
    workdir, _ = run_and_images
    (tmp_path / "photos").mkdir()
    names = ["caf\udce9.png", "猫.png"]
    for name in names:
        Image.new("RGB", (60, 40), "red").save(tmp_path / "photos" / name)
    index, sheet = tmp_path / "index\udce9", tmp_path / "sheet.png"
    assert call("build", index, f"--model={workdir}", f"--images={tmp_path / 'photos'}")[0] == 0
    for form in ("--no_rerank", "--json"):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
        code, *_ = call(index, "a star", form, f"--sheet={sheet}")
        sys.stdout.flush()
        printed = sys.stdout.buffer.getvalue().decode("ascii")
        assert code == 0 and "caf\\udce9.png" in printed and "\\u732b.png" in printed
    assert {hit["name"] for hit in json.loads(printed)} == set(names)
    assert sheet.stat().st_size > 1000


def test_an_index_in_a_bucket(call, run_and_images, bucket, cache_dir):
    workdir, images = run_and_images
    for path in images.iterdir():
        (path_of(bucket.address) / "images" / path.name).upload(path)
    index, photos = f"{bucket.address}/index", f"--images={bucket.address}/images"
    code, out, _ = call("build", index, f"--model={workdir}", photos)
    assert code == 0 and f"listed in {index}/bad_samples.jsonl" in out
    code, out, _ = call(index, "a red ball", "--json")
    assert code == 0
    assert {hit["path"] for hit in json.loads(out)} == {
        f"{bucket.address}/images/{colour}.png" for colour in ("red", "green", "blue")
    }
    code, _, errors = call(f"{bucket.address}/none", "a red ball")
    assert code == 2 and errors == f"error: {bucket.address}/none: no index here; build one first\n"


def test_captions(call, run_and_images, tmp_path):
    workdir, images = run_and_images
    texts, index, sheet = (tmp_path / name for name in ("texts.txt", "index", "sheet.png"))
    texts.write_text("a ball\na star\n")
    assert call("build", index, f"--model={workdir}", f"--captions={texts}")[0] == 0
    code, out, _ = call(index, images / "red.png", f"--sheet={sheet}")
    assert code == 0 and {"a ball", "a star"} == {row[18:] for row in out.splitlines()[1:]}
    assert sheet.stat().st_size > 1000
    code, _, err = call(index, "a ball")
    assert code == 2 and "ask it by an image" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "a ball"], "no index here"),
        (["nowhere", "a ball", "--sheet=sheet.nothing"], "name an image"),
        (["nowhere", "a ball", "--sheet=no_folder/a.jpg"], "no such directory"),
        (["build", "new", "--model=none"], "either images"),
        (["build", "new", "--model=none", "--images=none"], "no such folder"),
    ],
)
def test_mistakes_are_a_line(call, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 2 and err.startswith("error: ") and message in err
