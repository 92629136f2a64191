"""Our `.pth` files against those of PyTorch: structure, operations, and what the reader finds."""

import pickletools
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from albef_jax.checkpoints.torch_format import reader, writer
from albef_jax.errors import CheckpointError

TINY = Path(__file__).parents[2] / "golden" / "tiny"
FILES = ("pretrain", "retrieval", "ve", "vqa", "nlvr", "pretrain_nlvr")
ALL = pytest.mark.parametrize("name", FILES)


def golden(name):
    return reader.read_state_dict(TINY / f"{name}.pth")


def operations(path):
    """Names of the pickle's operations, and the globals it asks for."""
    with zipfile.ZipFile(path) as archive:
        pickle = next(member for member in archive.namelist() if member.endswith("/data.pkl"))
        steps = list(pickletools.genops(archive.read(pickle)))
    return {step.name for step, *_ in steps}, {
        arg for step, arg, _ in steps if step.name == "GLOBAL"
    }


def shared(state):
    """Groups of names that are one memory."""
    groups = {}
    for name, array in state.items():
        groups.setdefault(array.__array_interface__["data"][0], set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


@ALL
def test_a_official_state_dict_comes_back_bit_for_bit(tmp_path, name):
    state = golden(name)
    writer.write_pth(tmp_path / "new.pth", state, {"epoch": 0})
    content = reader.read_pth(tmp_path / "new.pth")
    assert [*content] == ["model", "epoch"] and content["epoch"] == 0
    assert [*content["model"]] == [*state]
    for key, array in state.items():
        found = content["model"][key]
        assert (found.dtype, found.shape) == (array.dtype, array.shape), key
        assert found.tobytes() == array.tobytes() and found.flags.c_contiguous, key


@ALL
def test_tied_weights_share_a_storage_as_in_the_original(tmp_path, name):
    writer.write_pth(tmp_path / "new.pth", golden(name), {})
    found = reader.read_state_dict(tmp_path / "new.pth")
    assert shared(found) == shared(golden(name))


@ALL
def test_the_pickle_asks_for_nothing_that_the_original_does_not(tmp_path, name):
    writer.write_pth(tmp_path / "new.pth", golden(name), {"epoch": 0, "lr": 0.5, "who": {}})
    ours, theirs = operations(tmp_path / "new.pth"), operations(TINY / f"{name}.pth")
    assert ours[0] <= theirs[0]
    assert ours[1] == theirs[1]


def test_the_archive_is_laid_out_as_the_original(tmp_path):
    writer.write_pth(tmp_path / "new.pth", golden("retrieval"), {})
    content = (tmp_path / "new.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "new.pth") as ours:
        members = ours.infolist()
        for member in members:
            name, extra = struct.unpack_from("<HH", content, member.header_offset + 26)
            assert (member.header_offset + 30 + name + extra) % 64 == 0, member.filename
            assert member.compress_type == zipfile.ZIP_STORED
        assert ours.read("archive/byteorder") == b"little"
        assert ours.read("archive/version") == b"3\n"
        assert ours.testzip() is None
    with zipfile.ZipFile(TINY / "retrieval.pth") as theirs:
        names = {member.partition("/")[2] for member in theirs.namelist()}
    assert {member.filename.partition("/")[2] for member in members} == names - {
        ".data/serialization_id"
    }


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("a.pth", "b.pth"):
        writer.write_pth(tmp_path / name, golden("ve"), {"step": 3})
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_views_scalars_and_all_element_types(tmp_path):
    state = {
        "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "part": np.arange(12, dtype=np.float32)[3:9],
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 7), np.float32),
        "also_empty": np.zeros((2, 0), np.float32),
        "half": np.ones(3, np.float16),
        "brain": np.array([1.5, 2], ml_dtypes.bfloat16),
        "flags": np.array([True, False]),
        "ümläut": np.zeros(1, np.float32),
    }
    writer.write_pth(tmp_path / "new.pth", state, {})
    found = reader.read_state_dict(tmp_path / "new.pth")
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("number", [0, 255, 256, 65535, 65536, -1, 2**31, 2**62, -(2**62)])
def test_numbers_beside_the_model(tmp_path, number):
    beside = {"step": number, "config": {"text": "é", "rate": -0.25, "deep": {"n": number}}}
    writer.write_pth(tmp_path / "new.pth", {}, beside)
    assert reader.read_pth(tmp_path / "new.pth") == {"model": {}, **beside}


def test_other_element_types_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="angle: PyTorch has no storage of complex64"):
        writer.write_pth(tmp_path / "new.pth", {"angle": np.zeros(2, np.complex64)}, {})
    assert not (tmp_path / "new.pth").exists()
