"""The command that makes a vocabulary."""

import json

import pytest

from albef_jax.data.tokenizer import Tokenizer
from tools.make_vocab import main

ITEMS = [
    {"image": "0.png", "question": "Is there a cat?", "answer": ["yes"]},
    {"image": "0.png", "question": "What is it?", "answer": "a cat"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps(ITEMS))
    return tmp_path


def test_the_words_of_lists(folder, capsys):
    (folder / "more.json").write_text(json.dumps([{"image": "1.png", "caption": "a dog"}]))
    assert main(["train.json", "more.json", "vocab.txt"]) == 0
    pieces = (folder / "vocab.txt").read_text().splitlines()
    assert pieces[77:] == ["cat", "is", "dog", "it", "there", "what", "yes"]
    told = capsys.readouterr().out
    assert told == "vocab.txt: 84 pieces; set model.vocab_size=84 and data.vocab=vocab.txt\n"
    assert Tokenizer(folder / "vocab.txt", 8).vocab_size == 84


def test_a_size(folder):
    assert main(["train.json", "vocab.txt", "--size=78"]) == 0
    assert (folder / "vocab.txt").read_text().splitlines()[-1] == "cat"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (ITEMS, ["vocab.json"], "name a file that ends in .txt"),
        (ITEMS, ["no/vocab.txt"], "no such directory"),
        (ITEMS, ["vocab.txt", "--size=9"], "9 pieces are too few"),
        ([*ITEMS, "cat"], ["vocab.txt"], "list.json, item 2: is a str, not an object"),
        ([*ITEMS, {"caption": 1}], ["vocab.txt"], "list.json, item 2: 'caption' must be a text"),
        ([{"image": "0.png"}], ["vocab.txt"], "list.json: has no caption, question or other text"),
        ([["is it?", "yes", 0]], ["vocab.txt"], "easy-VQA"),
        ([], ["vocab.txt"], "the list is empty"),
    ],
)
def test_mistakes_are_a_line(folder, capsys, content, arguments, message):
    (folder / "list.json").write_text(json.dumps(content))
    assert main(["list.json", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (folder / "vocab.txt").exists()
