"""The command, as it is typed."""

import json
import sys

import pytest

from tools.plan import main

pytestmark = pytest.mark.filterwarnings(
    "ignore:the load_module:DeprecationWarning"
)  # ml_collections
TINY = ["--config", "configs/pretrain.py:demo", "--device=h100"]


def planned(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["plan", *arguments])
    return main()


def test_a_table_and_json(monkeypatch, capsys):
    assert planned(monkeypatch, *TINY) == 0
    words = capsys.readouterr().out
    assert words.startswith("recipe                configs/pretrain.py:demo, batch 32\n")
    assert planned(monkeypatch, *TINY, "--json", "--config.train.batch_size=128") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["batch"] == 128 and found["kind"] == "NVIDIA H100 80GB HBM3"
    assert found["hours"]["expected"] > found["hours"]["at_peak"]


def test_files_need_not_be_there_but_options_are_checked(monkeypatch, capsys):
    retrieval = ["--config", "configs/retrieval.py:coco", "--device=v5e"]
    assert planned(monkeypatch, *retrieval, "--count=6") == 2
    assert planned(monkeypatch, *retrieval, "--config.train.batch_size=7") == 2
    assert planned(monkeypatch, *retrieval, "--config.model.dtype=float8") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "error: --count",
        "error: train.batch_size",
        "error: train.queue_size",
        "error: model.dtype",
    ]
