"""The folder that is given away: what is in it, and that it reads back."""

import json
from pathlib import Path

import numpy as np
import pytest

from albef_jax.checkpoints.convert.conversion import convert
from albef_jax.checkpoints.convert.description import describe
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.official import state_dict, weights_file
from albef_jax.checkpoints.official.weights_file import OfficialFile
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError

TINY = Path(__file__).parents[2] / "golden" / "tiny"
FILES = ["README.md", "config.json", "model.safetensors", "vocab.txt"]
RESULTS = {
    "task": "retrieval",
    "step": 9,
    "evaluated_on": "500 unseen scenes",
    "retrieval": {"itc": {"r1": 26.019, "images": 500}, "confusion": [0] * 13},
}


def make_run(folder, vocab="scenes", **config):
    """A run's directory with a checkpoint of step 9, made from the golden file."""
    config = {
        "task": "grounding",
        "preset": "demo",
        "model": {"vocab_size": 200, "image_heads": 3, "text_heads": 3},
        "data": {
            "vocab": str(vocab),
            "root": "/home/someone/data",
            "train_files": "/home/someone/a.json,b.json",
        },
        **config,
    }
    state = reader.read_state_dict(TINY / "retrieval.pth")
    weights_file.write_weights(folder.with_suffix(".pth"), OfficialFile(state, config, 9), ".pth")
    convert(folder.with_suffix(".pth"), folder)
    (folder / "results.json").write_text(json.dumps(RESULTS))
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_release_reads_back(tmp_path, run):
    report = convert(run, tmp_path / "out" / "model.safetensors")
    assert files(tmp_path / "out") == FILES
    assert "left out: teacher and queues" in report.notes
    found = read_checkpoint(tmp_path / "out")
    state = reader.read_state_dict(TINY / "retrieval.pth")
    expected = state_dict.from_official(state, task="retrieval")
    np.testing.assert_equal(found.params, expected.params)
    assert found.teacher == found.queues == {}
    assert (found.task, found.step, found.origin) == ("grounding", 9, tmp_path / "out")
    assert found.config["digest"] == describe(run)["digest"]
    assert found.config["model"]["image_heads"] == 3


def test_the_folder_may_be_named_and_may_hold_everything(tmp_path, run):
    report = convert(run, tmp_path / "out", as_release=True, with_teacher=True)
    assert files(tmp_path / "out") == FILES
    assert not any("left out" in note for note in report.notes)
    found, whole = read_checkpoint(tmp_path / "out"), read_checkpoint(run)
    np.testing.assert_equal(found.teacher, whole.teacher)
    np.testing.assert_equal(found.queues, whole.queues)
    assert "Teacher and queues are included" in (tmp_path / "out" / "README.md").read_text()


def test_a_release_converts_back(tmp_path, run):
    convert(run, tmp_path / "out", as_release=True)
    convert(tmp_path / "out", tmp_path / "new.pth")
    state = reader.read_state_dict(TINY / "retrieval.pth")
    found = reader.read_state_dict(tmp_path / "new.pth")
    assert found.keys() == {n for n in state if "_m." not in n and "queue" not in n}
    assert all(found[name].tobytes() == state[name].tobytes() for name in found)
    convert(tmp_path / "out", tmp_path / "again", as_release=True)
    vocab = [(tmp_path / folder / "vocab.txt").read_text() for folder in ("out", "again")]
    assert vocab[0] == vocab[1]


def test_the_card_says_what_the_model_is(tmp_path, run):
    convert(run, tmp_path / "out", as_release=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: albef_jax\n")
    for line in (
        "| retrieval.itc.r1 | 26.02 |",
        "| retrieval.itc.images | 500 |",
        "| image_heads | 3 |",
        "| itm_head | 50 |",
        "| data.train_files | a.json,b.json |",
        "Measured on 500 unseen scenes, at step 9.",
        "python -m albef_jax.main --config configs/grounding.py:demo --workdir RUN --eval_only",
        "## Limits",
    ):
        assert f"\n{line}\n" in card, line
    assert describe(tmp_path / "out")["digest"] in card
    assert "confusion" not in card and "{" not in card


def test_figures_of_another_step_are_called_so(tmp_path, run):
    (run / "results.json").write_text(json.dumps(RESULTS | {"step": 7}))
    convert(run, tmp_path / "out", as_release=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "at step 7, while the weights are those of step 9." in card
    (run / "results.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"results\.json: not JSON"):
        convert(run, tmp_path / "other", as_release=True)


def test_no_directory_of_the_machine_goes_along(tmp_path, run):
    convert(run, tmp_path / "out", as_release=True)
    for name in ("README.md", "config.json"):
        assert "someone" not in (tmp_path / "out" / name).read_text()
    assert b"someone" not in (tmp_path / "out" / "model.safetensors").read_bytes()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["data"] == {"vocab": "scenes", "root": "data", "train_files": "a.json,b.json"}


def test_a_vocabulary_of_the_run_goes_along(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    convert(make_run(tmp_path / "run", words), tmp_path / "out", as_release=True)
    assert (tmp_path / "out" / "vocab.txt").read_text() == words.read_text()
    assert read_checkpoint(tmp_path / "out").config["data"]["vocab"] == "vocab.txt"
    convert(tmp_path / "out", tmp_path / "again", as_release=True)
    assert (tmp_path / "again" / "vocab.txt").read_text() == words.read_text()
    words.unlink()
    with pytest.raises(CheckpointError, match="no vocabulary"):
        convert(tmp_path / "run", tmp_path / "third", as_release=True)
    assert not (tmp_path / "third").exists()


def test_a_file_without_configuration_can_be_released(tmp_path):
    report = convert(TINY / "ve.pth", tmp_path / "out" / "model.safetensors")
    assert files(tmp_path / "out") == [name for name in FILES if name != "vocab.txt"]
    assert any("vocab.txt" in note for note in report.notes)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "None were measured" in card and "had no configuration" in card
    found = read_checkpoint(tmp_path / "out")
    assert found.task == "entailment" and found.config["model"]["vocab_size"] == 200


def test_an_older_release_is_replaced_when_asked(tmp_path, run):
    convert(run, tmp_path / "out", as_release=True)
    (tmp_path / "out" / "image.png").write_text("mine")
    with pytest.raises(CheckpointError, match=r"out has model\.safetensors, config\.json"):
        convert(TINY / "ve.pth", tmp_path / "out", as_release=True)
    assert read_checkpoint(tmp_path / "out").task == "grounding"
    convert(TINY / "ve.pth", tmp_path / "out", as_release=True, overwrite=True)
    assert read_checkpoint(tmp_path / "out").task == "entailment"
    # the vocabulary was that of another model
    assert files(tmp_path / "out") == [
        "README.md",
        "config.json",
        "image.png",
        "model.safetensors",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run", "run.pth"]


def test_a_release_needs_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(CheckpointError, match="a release is a folder"):
        convert(TINY / "ve.pth", tmp_path / "out", as_release=True)


def test_a_damaged_release_is_named(tmp_path, run):
    convert(run, tmp_path / "out", as_release=True)
    (tmp_path / "out" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        read_checkpoint(tmp_path / "out")
    (tmp_path / "out" / "config.json").unlink()
    assert read_checkpoint(tmp_path / "out").task == "grounding"
    (tmp_path / "out" / "model.safetensors").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a safetensors file"):
        read_checkpoint(tmp_path / "out")
