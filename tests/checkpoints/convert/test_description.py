"""What a checkpoint is, in all forms alike."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from albef_jax.checkpoints.convert.conversion import convert
from albef_jax.checkpoints.convert.description import describe, format_description
from albef_jax.checkpoints.official import weights_file
from albef_jax.checkpoints.official.weights_file import OfficialFile
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from tools import describe as tool

TINY = Path(__file__).parents[2] / "golden" / "tiny"
SIZES = json.loads((TINY / "sizes.json").read_text())
ALL = pytest.mark.parametrize(
    "name", ["pretrain", "retrieval", "ve", "vqa", "nlvr", "pretrain_nlvr"]
)


@ALL
def test_every_form_has_the_same_digest(tmp_path, name):
    src = TINY / f"{name}.pth"
    forms = ["orbax", "new.pth", "new.safetensors", "out/model.safetensors"]
    for form in forms:
        convert(src, tmp_path / form)
    facts = [describe(src), *(describe(tmp_path / form) for form in [*forms, "out"])]
    assert len({fact["digest"] for fact in facts}) == 1
    assert len({fact["task"] for fact in facts}) == 1
    assert len({str(fact["sizes"]) for fact in facts}) == 1
    assert [fact["parts"] for fact in facts[1:4]] == [facts[0]["parts"]] * 3
    assert [fact["parts"] for fact in facts[4:]] == [["student"]] * 2
    assert [fact["form"] for fact in facts] == [
        *("pth", "orbax", "pth", "safetensors", "safetensors", "release"),
    ]


def changed(path, name, **arrays):
    state = reader.read_state_dict(TINY / f"{name}.pth")
    weights_file.write_weights(path, OfficialFile({**state, **arrays}), ".pth")
    return describe(path)["digest"]


def test_the_digest_is_that_of_the_students_weights(tmp_path):
    state = reader.read_state_dict(TINY / "ve.pth")
    names = ("cls_head.0.weight", "cls_head_m.0.weight")
    head, twin = ({name: np.array(state[name])} for name in names)
    same = changed(tmp_path / "a.pth", "ve")
    for array in (head[names[0]], twin[names[1]]):
        array[0, 0] = np.nextafter(array[0, 0], np.float32(9))
    assert changed(tmp_path / "b.pth", "ve", **twin) == same
    assert changed(tmp_path / "c.pth", "ve", **head) != same
    turned = {"cls_head.0.weight": np.ascontiguousarray(state["cls_head.0.weight"].T)}
    assert changed(tmp_path / "d.pth", "ve", **turned) != same


def test_facts_of_a_official_file():
    facts = describe(TINY / "pretrain.pth")
    assert (facts["task"], facts["step"], facts["recipe"]) == ("pretrain", None, {})
    assert facts["parts"] == ["student", "teacher", "queues"]
    assert facts["queue_size"] == SIZES["queue_size"]
    assert facts["sizes"]["vocab_size"] == SIZES["vocab_size"]
    assert facts["modules"]["student"]["itm_head"] == 2 * SIZES["hidden_size"] + 2
    assert facts["parameters"]["student"] == sum(facts["modules"]["student"].values())
    assert "itm_head" not in facts["modules"]["teacher"]
    assert facts["missing"] == facts["unexpected"] == []


def test_tied_weights_count_once():
    state = reader.read_state_dict(TINY / "vqa.pth")
    tied = {n for n in state if "predictions.decoder" in n or "position_ids" in n}
    students = [n for n in state if not n.partition(".")[0].endswith("_m") and n not in tied]
    expected = sum(state[name].size for name in students)
    assert describe(TINY / "vqa.pth")["parameters"]["student"] == expected


def test_facts_of_a_run(tmp_path):
    config = {
        "task": "retrieval",
        "preset": "mscoco",
        "seed": 3,
        "model": {"image_size": 64, "dropout": 0.1, "unroll": 4, "remat_text": "none"},
        "data": {"source": "json", "train_files": "a.json", "threads": 8},
        "train": {"batch_size": 256, "steps": None},
    }
    state = reader.read_state_dict(TINY / "retrieval.pth")
    weights_file.write_weights(tmp_path / "a.pth", OfficialFile(state, config, 9), ".pth")
    convert(tmp_path / "a.pth", tmp_path / "run")
    facts = describe(tmp_path / "run")
    assert (facts["step"], facts["form"], facts["sizes"]) == (9, "orbax", {"image_size": 64})
    assert facts["recipe"] == {
        "preset": "mscoco",
        "seed": 3,
        "converted_from": "a.pth",
        "data.source": "json",
        "data.train_files": "a.json",
        "train.batch_size": 256,
    }
    text = format_description(facts)
    assert text.startswith("9: orbax, task retrieval, step 9\n")
    assert "recipe      preset mscoco, seed 3," in text


def test_what_does_not_fit_is_named(tmp_path):
    state = dict(reader.read_state_dict(TINY / "retrieval.pth"))
    del state["temp"]
    state["aux"] = np.zeros(2, np.float32)
    weights_file.write_weights(tmp_path / "odd.safetensors", OfficialFile(state), ".safetensors")
    facts = describe(tmp_path / "odd.safetensors")
    assert (facts["missing"], facts["unexpected"]) == (["temp"], ["aux"])
    text = format_description(facts)
    assert "missing     temp\nunexpected  aux\n" in text
    with pytest.raises(CheckpointError, match="no such file"):
        describe(tmp_path / "absent")


def test_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["describe", str(TINY / "ve.pth"), "--json"])
    assert tool.main() == 0
    assert json.loads(capsys.readouterr().out) == describe(TINY / "ve.pth")
    monkeypatch.setattr(sys, "argv", ["describe", str(TINY / "ve.pth")])
    assert tool.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ve.pth: pth, task entailment"
    assert lines[-1] == f"digest      {describe(TINY / 've.pth')['digest']}"
    monkeypatch.setattr(sys, "argv", ["describe", str(tmp_path / "absent")])
    assert tool.main() == 1
    assert "no such file" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["describe", "--help"])
    with pytest.raises(SystemExit):
        tool.main()
    assert "python -m tools.describe runs/demo" in capsys.readouterr().out
