"""The `.pth` reader: golden files and hand-written ones."""

import pickle
from argparse import Namespace

import ml_dtypes
import numpy as np
import pytest

from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from tests.helpers.torch_files import (
    FORMS,
    NUMBERS,
    TINY,
    mapping,
    named,
    storage,
    tensor,
    training_checkpoint,
    tuple_of,
    write,
    write_stream,
    write_zip,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.pth"


@pytest.mark.parametrize(
    ("name", "count"), [("pretrain", 292), ("retrieval", 279), ("vqa", 394), ("nlvr", 376)]
)
def test_golden_state_dicts(name, count):
    assert len(reader.read_state_dict(TINY / f"{name}.pth")) == count


def test_golden_facts():
    content = reader.read_pth(TINY / "pretrain.pth")
    assert [*content] == ["model", "optimizer", "lr_scheduler", "config", "epoch"]
    state = content["model"]
    assert state["visual_encoder.pos_embed"].shape == (1, 17, 24)
    assert state["visual_encoder.patch_embed.proj.weight"].shape == (24, 3, 16, 16)
    assert state["temp"].shape == () and state["temp"] == np.float32(0.07)
    assert state["queue_ptr"].dtype == np.int64
    words = state["text_encoder.bert.embeddings.word_embeddings.weight"]
    tied = state["text_encoder.cls.predictions.decoder.weight"]
    assert np.shares_memory(words, tied) and words.shape == (200, 24)
    np.testing.assert_array_equal(words, tied)
    positions = state["text_encoder.bert.embeddings.position_ids"]
    np.testing.assert_array_equal(positions, np.arange(64)[None])


@pytest.mark.parametrize("form", FORMS)
def test_views_share_their_storage(path, form):
    views = mapping(
        whole=tensor(),
        turned=tensor((4, 3), (1, 4)),
        part=tensor((2, 2), (8, 2), offset=1),
        scalar=tensor((), (), offset=5),
        row=tensor((1, 12), (99, 1)),
        empty=tensor((0, 7), (7, 1)),
        weight=named("torch._utils", "_rebuild_parameter")
        + tuple_of(tensor(), b"\x88", b"N")
        + b"R",
    )
    state = reader.read_state_dict(write(form, path, mapping(model=views)))
    whole = NUMBERS.reshape(3, 4)
    np.testing.assert_array_equal(state["whole"], whole)
    np.testing.assert_array_equal(state["weight"], whole)
    np.testing.assert_array_equal(state["turned"], whole.T)
    np.testing.assert_array_equal(state["part"], [[1, 3], [9, 11]])
    np.testing.assert_array_equal(state["row"], NUMBERS[None])
    assert state["scalar"] == 5 and state["empty"].shape == (0, 7)
    assert np.shares_memory(state["whole"], state["turned"])
    assert not state["turned"].flags.writeable


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("BFloat16Storage", ml_dtypes.bfloat16),
        ("HalfStorage", np.float16),
        ("DoubleStorage", np.float64),
        ("LongStorage", np.int64),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_element_types(path, form, kind, dtype):
    array = np.array([0, 1, 1, 0], dtype)
    body = mapping(a=tensor((4,), (1,), source=storage(kind, numel=4)))
    found = reader.read_state_dict(write(form, path, body, {"0": array}))["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_values_and_inert_objects(path, form, protocol):
    plain = {"epoch": 3, "lr": [1e-4, None, True], "size": (2, "é"), "args": Namespace(seed=7)}
    content = pickle.dumps(plain, protocol)
    (write_zip if form == "zip" else write_stream)(path, content, {})
    found = reader.read_pth(path)
    args = found.pop("args")
    assert args.name == "argparse.Namespace" and args.state == {"seed": 7}
    assert found == {key: value for key, value in plain.items() if key != "args"}


@pytest.mark.parametrize("form", FORMS)
def test_of_a_training_checkpoint_the_model_alone_is_read(path, form):
    content = training_checkpoint(form, path).read_bytes()
    moments = content.index((NUMBERS + 2).tobytes())
    path.write_bytes(content[:moments] + bytes(48) + content[moments + 48 :])
    found = reader.read_model(path)
    assert {name: array[1, 1] for name, array in found.state.items()} == {"a": 5, "b": 5, "c": 6}
    assert found.beside.keys() == {"optimizer", "epoch", "config"}
    assert found.beside["epoch"] == 3 and found.beside["config"] == {"queue_size": 12}
    if form == "zip":  # the damage is in what was not read
        with pytest.raises(CheckpointError, match="data/2: Bad CRC-32"):
            reader.read_pth(path)
    else:
        assert not reader.read_pth(path)["optimizer"]["m"].any()
