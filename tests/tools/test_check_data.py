import io
import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.prepare.checking import Findings, Found
from albef_jax.data.prepare.lengths import Lengths
from albef_jax.data.tokenizer import Tokenizer
from tools.check_data import main, open_data, report, summary

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # its loader


@pytest.fixture
def config():
    config = default()
    config.data.text_len = 3
    return config


@pytest.fixture
def findings():
    lengths = Lengths(Tokenizer("scenes", 2), max_words=30)
    lengths.add(["red circle"] * 97 + ["a red circle left of a blue square"] * 2 + ["日"])
    found = [Found("tiny image", "a.jpg", "8 x 8 pixels"), Found("not RGB", "b.png", "in mode P")]
    return Findings(lengths, 100, found)


def test_the_report_counts_everything_and_suggests_a_length(findings, config):
    told = report(findings, config, items=400)
    assert told["items"] == 400 and told["checked"] == 100
    assert told["counts"]["tiny image"] == told["counts"]["not RGB"] == 1
    assert told["counts"]["unusable"] == 0
    assert told["found"][0] == {"kind": "tiny image", "name": "a.jpg", "detail": "8 x 8 pixels"}
    texts = told["texts"]
    assert texts["text_len"] == 3 and texts["cut_by_text_len"] == pytest.approx(0.02)
    assert texts["suggested_text_len"] == 9 and texts["longest"] == 9
    assert texts["unknown_tokens"] > 0
    assert json.loads(json.dumps(told)) == told


def test_the_summary_names_the_option_and_its_remedy(findings, config):
    text = summary(report(findings, config, items=400))
    assert re.search(r"^tiny image +1$", text, re.MULTILINE)
    assert "data.text_len=3 cuts 2.00%" in text
    assert "data.text_len=9 would hold 99%" in text


@pytest.mark.parametrize("task", ["pretrain", "vqa", "entailment", "nlvr", "grounding"])
def test_the_data_of_each_task_open(task):
    config = default(task)
    config.data.source = "scenes"
    config.data.scenes.train_size = 5
    config.model.image_size = 32
    assert len(open_data(config, "train")) == 5
    assert len(open_data(config, "eval")) == 1000


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"")
    items = [{"image": f"{number}.png", "caption": "a dog"} for number in range(2)]
    (tmp_path / "a.json").write_text(json.dumps(items), "utf-8")
    (tmp_path / "good.json").write_text(json.dumps(items[:1]), "utf-8")
    return tmp_path


@pytest.fixture
def checked(folder, monkeypatch, capsys):
    """Run the command; its exit code, what it printed, and its errors."""

    def run(*arguments):
        config = [f"{ROOT}/configs/pretrain.py:laptop", f"--config.data.root={folder}"]
        monkeypatch.setattr("sys.argv", ["check_data", "--config", *config, *arguments])
        return main(), *capsys.readouterr()

    return run


def test_problems_are_named_and_written_down(folder, checked):
    file = folder / "report.json"
    code, printed, _ = checked("--config.data.train_files=a.json", f"--report={file}")
    assert code == 1
    assert f"unusable: {folder / '1.png'}: the file is empty (0 bytes)" in printed
    assert json.loads(file.read_bytes())["counts"]["unusable"] == 1


def test_good_data_give_exit_code_0_and_a_wrong_file_2(checked):
    code, printed, _ = checked("--config.data.train_files=good.json")
    assert code == 0 and "unusable                   0" in printed
    code, _, errors = checked("--config.data.train_files=goof.json")
    assert code == 2 and "did you mean" in errors


def test_evaluation_data_and_a_limit(checked):
    files = ["--config.data.train_files=a.json", "--config.data.eval_files=good.json"]
    code, printed, _ = checked(*files, "--eval")
    assert code == 0 and "items                      1" in printed
    code, printed, _ = checked(*files, "--limit=1", "--smallest=41")
    assert code == 1 and "checked                    1" in printed
    assert "tiny image: " in printed and "40 x 40 pixels" in printed


def test_names_that_the_console_cannot_write(folder, checked, monkeypatch):
    """Not UTF-8, and characters that ASCII lacks; the report holds them all the same."""
    names = ["caf\udce9.png", "猫.png"]
    items = [{"image": name, "caption": "a dog"} for name in ("0.png", *names)]
    (folder / "a.json").write_text(json.dumps(items), "utf-8")
    for name in names:
        (folder / name).write_bytes(b"")
    file = folder / "report.json"
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    code, *_ = checked("--config.data.train_files=a.json", f"--report={file}")
    sys.stdout.flush()
    printed = sys.stdout.buffer.getvalue().decode("ascii")
    assert code == 1 and "caf\\udce9.png: the file is empty" in printed
    assert "\\u732b.png: the file is empty" in printed
    found = {Path(one["name"]).name for one in json.loads(file.read_bytes())["found"]}
    assert found == set(names)
