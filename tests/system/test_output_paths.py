"""What cannot be written is told before the work: no data, model or run is there to be opened."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from albef_jax.system import output_paths
from albef_jax.system.output_paths import CannotWrite, check_file, check_folder, check_image

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # its loader
LAPTOP = ["--config", "configs/pretrain.py:laptop"]


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "PNG", "webp", "gif", "bmp", "tif"])
def test_images_that_pillow_writes(ending, tmp_path):
    check_image(tmp_path / f"sheet.{ending}", "--sheet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s.psd", r"cannot write \.psd; name a \.jpg"),  # Pillow only reads these
        ("s.fli", r"cannot write \.fli"),
        ("s.h5", r"cannot write \.h5"),  # a writer that somebody else would have to bring
        ("s.nothing", "name an image"),
        ("sheet", "name an image"),
        ("none/s.jpg", "no such directory: .*none"),
        ("folder.jpg", "is a folder; name a file"),
        ("file/s.jpg", "no such directory"),
    ],
)
def test_images_that_cannot_be_written(name, message, tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=rf"^--sheet=.*{message}"):
        check_image(tmp_path / name, "--sheet")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:PIL")
def test_every_image_that_passes_can_be_saved(tmp_path):
    """Of all endings that Pillow knows."""
    Image.init()
    passed = []
    for ending in Image.registered_extensions():
        path = tmp_path / f"sheet{ending}"
        try:
            check_image(path, "--sheet")
        except CannotWrite:
            continue
        Image.new("RGB", (700, 300), "red").save(path)
        passed.append(ending)
    assert {".jpg", ".png", ".webp", ".gif", ".bmp", ".tiff"} <= set(passed)


def test_folders(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    check_folder(tmp_path / "a" / "b", "--out")
    check_file(tmp_path / "a" / "b.html", "--out", make_folder=True)
    with pytest.raises(CannotWrite, match=r"^--out=.*file is a file, not a folder"):
        check_folder(tmp_path / "file" / "b", "--out")
    monkeypatch.setattr(output_paths.os, "access", lambda path, mode: False)
    with pytest.raises(CannotWrite, match="nothing may be written in"):
        check_folder(tmp_path / "a", "--out")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("search", ["nowhere", "a ball", "--sheet=s.psd"], "--sheet=s.psd: Pillow cannot write"),
        ("search", ["nowhere", "a ball", "--k=0"], "--k=0: must be 1 or more"),
        ("search", ["build", "file/i", "--model=none", "--images=none"], "index=file/i"),
        ("check_data", [*LAPTOP, "--report=none/r.json"], "--report=none/r.json: no such dir"),
        ("pack_dataset", [*LAPTOP, "--out=file/packed"], "--out=file/packed: .*is a file"),
        ("compare_runs", ["a", "b", "--out=file/page.html"], "--out=file/page.html|--out=file: "),
        ("convert_checkpoint", ["none.pth", "file/a.pth"], "dst=file: "),
        ("export_encoders", ["none", "file/e"], "folder=file/e: .*is a file"),
    ],
)
def test_commands_tell_it_first(command, arguments, message, tmp_path, monkeypatch, capsys):
    here = LAPTOP[1].split("/")[0]
    (tmp_path / here).symlink_to(Path(__file__).parents[2] / here)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "a.json").write_text('[{"image": "a.jpg", "caption": "a dog"}]')
    if command in ("check_data", "pack_dataset"):
        arguments = [*arguments, "--config.data.train_files=a.json"]
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    try:
        code = importlib.import_module(f"tools.{command}").main()
        err = capsys.readouterr().err
    except SystemExit as ended:
        code, err = 1, str(ended.code)
    assert code in (1, 2)
    first, *others = err.splitlines()
    assert not others
    assert re.search(f"^error: {message}", first)
