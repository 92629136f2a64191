"""One model through every form and back, bit for bit; and what is refused."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

from albef_jax.checkpoints.convert.conversion import convert, format_report
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.official import state_dict, weights_file
from albef_jax.checkpoints.official.weights_file import OfficialFile
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from tests.helpers.golden_files import FILES, golden, saved
from tools import convert_checkpoint

ALL = pytest.mark.parametrize("task", FILES)


def changed(path, task, drop=(), **added):
    """The golden file with names taken out and added, written to `path`."""
    state = {name: array for name, array in saved(task).items() if name not in drop}
    weights_file.write_weights(path, OfficialFile(state | added), ".pth")
    return path


def assert_same(path, expected):
    found = weights_file.read_weights(path).state
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@ALL
def test_through_orbax_and_back_bit_for_bit(tmp_path, task):
    there = convert(golden(task), tmp_path / "orbax")
    back = convert(tmp_path / "orbax", tmp_path / "new.pth")
    assert there.ok and back.ok and there.task == back.task == task
    assert_same(tmp_path / "new.pth", saved(task))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.pth", "orbax"]


@ALL
def test_the_orbax_directory_is_one_to_start_from(tmp_path, task):
    convert(golden(task), tmp_path / "orbax")
    found = read_checkpoint(tmp_path / "orbax")
    expected = state_dict.from_official(saved(task), task=task)
    for ours, theirs in (
        (found.params, expected.params),
        (found.teacher, expected.teacher),
        (found.queues, expected.queues),
    ):
        np.testing.assert_equal(ours, theirs)
    assert found.task == task and found.step == 0
    assert found.config["task"] == task and found.config["model"]["fusion_depth"] == 2
    assert found.config["converted_from"] == golden(task).name


@ALL
def test_through_safetensors_and_back_bit_for_bit(tmp_path, task):
    convert(golden(task), tmp_path / "new.safetensors")
    assert_same(tmp_path / "new.safetensors", saved(task))
    convert(tmp_path / "new.safetensors", tmp_path / "orbax")
    convert(tmp_path / "orbax", tmp_path / "again.safetensors")
    convert(tmp_path / "again.safetensors", tmp_path / "new.pth")
    assert_same(tmp_path / "new.pth", saved(task))


@pytest.mark.parametrize("task", ["pretrain", "vqa", "nlvr"])
def test_tied_weights_share_a_storage_again(tmp_path, task):
    convert(golden(task), tmp_path / "orbax")
    convert(tmp_path / "orbax", tmp_path / "new.pth")
    found = reader.read_state_dict(tmp_path / "new.pth")

    def groups(state):
        places = {name: array.__array_interface__["data"][0] for name, array in state.items()}
        return {frozenset(n for n in places if places[n] == place) for place in places.values()}

    assert groups(found) == groups(saved(task))
    assert len(groups(found)) < len(found)


def test_configuration_and_step_travel(tmp_path):
    config = {"task": "grounding", "seed": 3, "model": {"image_heads": 3, "text_heads": 3}}
    source = OfficialFile(dict(saved("retrieval")), config, 70)
    weights_file.write_weights(tmp_path / "a.pth", source, ".pth")
    for src, dst in (
        ("a.pth", "b.safetensors"),
        ("b.safetensors", "c"),
        ("c", "d.pth"),
        ("d.pth", "e"),
    ):
        assert convert(tmp_path / src, tmp_path / dst).task == "grounding"
        found = read_checkpoint(tmp_path / dst)
        assert (found.step, found.task) == (70, "grounding")
        assert found.config.items() >= config.items()


def test_directories_of_the_machine_stay_behind(tmp_path):
    config = {"task": "retrieval", "model": {}, "data": {"files": "/home/me/a.json, ~/b.json,c/d"}}
    source = OfficialFile(dict(saved("retrieval")), config)
    weights_file.write_weights(tmp_path / "a.pth", source, ".pth")
    for dst in ("b.pth", "b.safetensors"):
        convert(tmp_path / "a.pth", tmp_path / dst)
        assert read_checkpoint(tmp_path / dst).config["data"] == {"files": "a.json,b.json,c/d"}


def test_the_task_is_given_where_names_fit_two(tmp_path):
    convert(golden("retrieval"), tmp_path / "orbax", task="grounding")
    assert read_checkpoint(tmp_path / "orbax").task == "grounding"
    convert(tmp_path / "orbax", tmp_path / "back.pth")
    assert_same(tmp_path / "back.pth", saved("retrieval"))


def test_the_report_counts_by_module(tmp_path):
    report = convert(golden("pretrain"), tmp_path / "orbax")
    state, modules = saved("pretrain"), report.modules
    assert sum(counted["read"] for counted in modules.values()) == len(state)
    # 7 matrices of a text layer, 11 of a fusion layer, and the transform of the word head
    counted = {name: count for name, count in modules["text_encoder"].items() if count}
    assert counted == {
        "read": sum(name.startswith("text_encoder.") for name in state),
        "transposed": 2 * 6 + 2 * 10 + 1,
        "tied": 2,
    }
    assert modules["image_queue"]["transposed"] == 1 and modules["queue_ptr"]["transposed"] == 0
    assert sum(counted["cast"] for counted in modules.values()) == 0
    lines = format_report(report).splitlines()
    assert lines[0] == (
        "pretrain                read  transposed        tied        cast       added     missing"
        "  unexpected"
    )
    assert lines[len(modules) + 1].split()[:2] == ["total", str(len(state))]
    between = convert(golden("pretrain"), tmp_path / "new.safetensors")
    assert sum(counted["transposed"] for counted in between.modules.values()) == 0


def test_half_precision_is_cast_for_orbax_alone(tmp_path):
    halves = {"itm_head.weight": saved("retrieval")["itm_head.weight"].astype(np.float16)}
    src = changed(tmp_path / "half.pth", "retrieval", **halves)
    assert convert(src, tmp_path / "orbax").modules["itm_head"]["cast"] == 1
    convert(src, tmp_path / "new.safetensors")
    assert_same(tmp_path / "new.safetensors", {**saved("retrieval"), **halves})


def test_second_names_and_position_numbers_are_added(tmp_path):
    drop = [n for n in saved("pretrain") if "predictions.decoder" in n or "position_ids" in n]
    drop.append("text_encoder.bert.embeddings.word_embeddings.weight")
    drop.remove("text_encoder.cls.predictions.decoder.weight")  # either of two names is enough
    src = changed(tmp_path / "cut.pth", "pretrain", drop)
    report = convert(src, tmp_path / "new.pth")
    assert report.ok and len(drop) == 6
    assert sum(counted["added"] for counted in report.modules.values()) == 6
    assert_same(tmp_path / "new.pth", saved("pretrain"))


def test_nothing_is_written_when_names_are_missing_or_unexpected(tmp_path):
    extra = {"aux_head.weight": np.zeros(3, np.float32)}
    src = changed(tmp_path / "odd.pth", "retrieval", ["idx_queue"], **extra)
    for dst in ("orbax", "new.pth", "new.safetensors", "out/model.safetensors"):
        report = convert(src, tmp_path / dst)
        assert (report.missing, report.unexpected) == (["idx_queue"], ["aux_head.weight"])
        text = format_report(report)
        assert "missing: idx_queue" in text and "unexpected: aux_head.weight" in text
        assert [path.name for path in tmp_path.iterdir()] == ["odd.pth"]
    assert not convert(src, tmp_path / "new.pth", allow=("aux_head",)).ok


def test_what_is_allowed_is_left_out_and_said(tmp_path):
    extra = {"aux_head.weight": np.zeros(3, np.float32)}
    src = changed(tmp_path / "odd.pth", "retrieval", ["idx_queue", "itm_head.bias"], **extra)
    allow = ("aux_head", "itm_head", "idx_queue")
    report = convert(src, tmp_path / "orbax", allow=allow)
    assert report.ok
    assert {f"allowed: {n}" for n in ("aux_head.weight", "itm_head.bias", "idx_queue")} <= {
        *report.notes
    }
    found = read_checkpoint(tmp_path / "orbax")
    assert found.params["itm_head"].keys() == {"kernel"}
    assert found.queues.keys() == {"image", "text", "pointer"}
    convert(src, tmp_path / "new.pth", allow=allow)
    expected = {n: a for n, a in saved("retrieval").items() if n not in ("idx_queue",)}
    del expected["itm_head.bias"]
    assert_same(tmp_path / "new.pth", expected)
    with pytest.raises(CheckpointError, match=r"no whole retrieval model"):
        convert(tmp_path / "orbax", tmp_path / "again.pth")


def test_queues_that_lack_more_than_ids_are_left_out(tmp_path):
    src = changed(tmp_path / "odd.pth", "retrieval", ["queue_ptr"])
    convert(src, tmp_path / "orbax", allow=("queue_ptr",))
    assert read_checkpoint(tmp_path / "orbax").queues == {}


def test_a_stack_is_not_kept_in_part(tmp_path):
    gone = "visual_encoder.blocks.1.norm1.bias"
    src = changed(tmp_path / "odd.pth", "entailment", [gone])
    with pytest.raises(CheckpointError, match=r"blocks/norm1/bias is a stack .* some are missing"):
        convert(src, tmp_path / "orbax", allow=(gone,))
    whole = [name for name in saved("entailment") if name.startswith("visual_encoder.blocks.")]
    whole = [name for name in whole if name.endswith("norm1.bias")]
    src = changed(tmp_path / "odd.pth", "entailment", whole)
    convert(src, tmp_path / "orbax", allow=("visual_encoder.blocks",))
    blocks = read_checkpoint(tmp_path / "orbax").params["image_encoder"]["blocks"]
    assert blocks["norm1"].keys() == {"scale"}


def test_an_unknown_permission_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="--allow=itm: nothing of that name"):
        convert(golden("retrieval"), tmp_path / "new.pth", allow=("itm",))


def test_the_second_layer_of_a_pair_counts_and_is_named(tmp_path):
    first = "text_encoder.encoder.layer.4.crossattention.self.key.weight"
    src = changed(tmp_path / "odd.pth", "nlvr", **{first: np.zeros_like(saved("nlvr")[first])})
    report = convert(src, tmp_path / "orbax")
    second = first.replace(".4.", ".5.")
    assert f"replaced: {first} by {second}, which counts" in report.notes
    convert(tmp_path / "orbax", tmp_path / "new.pth")
    assert_same(tmp_path / "new.pth", saved("nlvr"))


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("text_encoder_m.cls.predictions.decoder.bias", np.zeros(200, np.float32), "ties it"),
        ("text_encoder.bert.embeddings.position_ids", np.ones((1, 64), np.int64), "count from 0"),
    ],
)
@pytest.mark.parametrize("dst", ["orbax", "new.pth"])
def test_what_no_model_of_ours_can_hold_is_refused(tmp_path, name, array, reason, dst):
    src = changed(tmp_path / "odd.pth", "pretrain", **{name: array})
    with pytest.raises(CheckpointError, match=rf"odd\.pth: {name}.*{reason}"):
        convert(src, tmp_path / dst)


def test_image_ids_that_do_not_fit_are_refused(tmp_path):
    src = changed(tmp_path / "odd.pth", "retrieval", idx_queue=np.full((1, 12), 2**40))
    with pytest.raises(CheckpointError, match="ids beyond 32 bits"):
        convert(src, tmp_path / "orbax")
    convert(src, tmp_path / "new.safetensors")  # where they may stay as they are


def test_what_exists_is_not_replaced_unasked(tmp_path):
    for name in ("new.pth", "new.safetensors"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(CheckpointError, match=f"{name} exists; .* --overwrite"):
            convert(golden("entailment"), tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
        convert(golden("entailment"), tmp_path / name, overwrite=True)
        assert_same(tmp_path / name, saved("entailment"))
    convert(golden("entailment"), tmp_path / "orbax")
    with pytest.raises(CheckpointError, match="orbax exists"):
        convert(golden("nlvr"), tmp_path / "orbax")
    convert(golden("nlvr"), tmp_path / "orbax", overwrite=True)
    assert read_checkpoint(tmp_path / "orbax").task == "nlvr"
    (tmp_path / "empty").mkdir()
    assert convert(golden("nlvr"), tmp_path / "empty").ok


def test_a_run_is_never_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="more in it than a converted checkpoint"):
        convert(golden("entailment"), tmp_path / "run", overwrite=True)
    with pytest.raises(CheckpointError, match=r"x\.bin: name it \.pth"):
        convert(golden("entailment"), tmp_path / "x.bin")


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        convert(golden("entailment"), tmp_path / "deep" / "new.safetensors")
    assert [*(tmp_path / "deep").iterdir()] == []


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        convert(tmp_path / "absent.pth", tmp_path / "new.pth")
    other = tmp_path / "resnet.safetensors"
    safetensors.numpy.save_file({"conv1.weight": np.zeros(2, np.float32)}, other)
    with pytest.raises(CheckpointError, match=r"resnet\.safetensors: no state dict of an official"):
        convert(other, tmp_path / "new.pth")
    with pytest.raises(CheckpointError, match=r"resnet\.safetensors: .*crossattention"):
        convert(other, tmp_path / "new.pth", task="vqa")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert_checkpoint", *map(str, arguments)])
    return convert_checkpoint.main()


def test_the_command_says_what_it_did(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, golden("vqa"), tmp_path / "new.pth") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("vqa ") and "total" in printed
    assert printed.endswith(f"written: {tmp_path / 'new.pth'}\n")
    assert command(monkeypatch, golden("vqa"), tmp_path / "new.pth") == 1
    assert "error: " in capsys.readouterr().err
    assert command(monkeypatch, golden("vqa"), tmp_path / "new.pth", "--overwrite") == 0
    assert_same(tmp_path / "new.pth", saved("vqa"))


def test_the_command_fails_when_names_do_not_fit(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, golden("vqa"), tmp_path / "new", "--task=entailment") == 1
    captured = capsys.readouterr()
    assert "missing: cls_head.0.weight" in captured.out
    assert "unexpected: text_decoder.bert" in captured.out
    assert "nothing was written" in captured.err and not (tmp_path / "new").exists()
    src = changed(tmp_path / "odd.pth", "vqa", aux=np.zeros(2, np.float32))
    assert command(monkeypatch, src, tmp_path / "new", "--allow=aux,") == 0
    assert json.loads((tmp_path / "new" / "config.json").read_text())["task"] == "vqa"


def test_help_has_an_example(monkeypatch, capsys):
    with pytest.raises(SystemExit) as leave:
        command(monkeypatch, "--help")
    assert leave.value.code == 0
    assert "python -m tools.convert_checkpoint runs/demo demo.pth" in capsys.readouterr().out
