import json
import sys

import pytest

from tools.compare_runs import main


@pytest.fixture
def two_runs(tmp_path):
    for name, rate in (("a", 1e-3), ("b", 1e-4)):
        (tmp_path / name).mkdir()
        config = {"task": "pretrain", "optimizer": {"lr": rate}}
        config |= {"train": {"batch_size": 8, "queue_size": 60, "contrast_group": 4}}
        config |= {"model": {"vocab_size": 100}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        line = {"step": 10, "loss": 7.0, "pairs_per_s": 8.0, "data_wait": 0.0}
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def compare(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare_runs", *map(str, arguments)])
    return main()


def test_a_table_on_the_terminal_and_a_page(two_runs, monkeypatch, capsys):
    out = two_runs / "new" / "both.html"
    assert compare(monkeypatch, two_runs / "a", two_runs / "b", f"--out={out}") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == out.as_uri()
    assert ["optimizer.lr", "0.001", "0.0001"] in [line.split() for line in printed]
    html = out.read_text("utf-8")
    assert html.startswith("<!doctype html>") and html.count("<svg") == 3


def test_a_mistake_is_one_line(two_runs, monkeypatch, capsys):
    out = two_runs / "page.html"
    assert compare(monkeypatch, two_runs / "a", two_runs / "a", f"--out={out}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert not out.exists()
