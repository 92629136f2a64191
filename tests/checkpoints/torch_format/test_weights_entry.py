"""Checkpoints of other trainers: where the weights are, and what is beside them."""

import pickle
from collections import Counter, OrderedDict, defaultdict
from pathlib import PurePosixPath

import numpy as np
import pytest

from albef_jax.checkpoints.convert.conversion import convert
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.official import weights_file
from albef_jax.checkpoints.torch_format import reader, writer
from albef_jax.checkpoints.torch_format.allowed_globals import Inert
from albef_jax.errors import CheckpointError
from tests.helpers.golden_files import TINY, saved
from tests.helpers.torch_files import (
    FORMS,
    NUMBERS,
    mapping,
    number,
    storage,
    tensor,
    write,
    write_zip,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.pth"


WEIGHTS = mapping(a=tensor())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("body", "where"),
    [
        (WEIGHTS, ()),
        (mapping(model=WEIGHTS, epoch=number(1)), ("model",)),
        (mapping(epoch=number(1), state_dict=WEIGHTS), ("state_dict",)),
        (mapping(model_ema=WEIGHTS, args=b"N"), ("model_ema",)),
        (mapping(model_ema=mapping(a=tensor((1,), (1,))), state_dict=WEIGHTS), ("state_dict",)),
        (mapping(model=number(3), state_dict=WEIGHTS), ("state_dict",)),
        (mapping(model=mapping(state_dict=WEIGHTS)), ("model", "state_dict")),
        (mapping(ema=mapping(module=WEIGHTS, decay=number(1))), ("ema", "module")),
    ],
)
def test_the_weights_are_found(path, form, body, where):
    found = reader.read_model(write(form, path, body))
    assert found.where == where
    np.testing.assert_array_equal(found.state["a"], NUMBERS.reshape(3, 4))


def test_the_choice_is_told(path):
    other = mapping(a=tensor(source=storage(key="1")))
    body = mapping(state_dict=WEIGHTS, model_ema=other, epoch=number(3))
    found = reader.read_model(write("zip", path, body, {"0": NUMBERS, "1": NUMBERS}))
    assert found.notes() == (
        "the weights are those under state_dict",
        "beside the weights: model_ema, epoch",
    )


def test_what_is_no_tensor_among_the_weights_is_left_out_and_told(path):
    body = mapping(a=tensor(), epoch=number(3), extra=mapping(b=number(1)))
    found = reader.read_model(write("zip", path, body))
    assert [*found.state] == ["a"]
    assert found.notes() == (
        "among the weights, no tensors and left out: epoch (int), extra (dictionary)",
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (mapping(epoch=number(3)), "it holds epoch (int), and tensors"),
        (b"}", "it holds nothing, and tensors"),
        (mapping(state_dict=mapping(a=number(1))), "it holds state_dict (dictionary), and"),
        (mapping(net=WEIGHTS), "it holds net (dictionary), and"),
    ],
)
def test_no_weights_is_one_line_without_contradiction(path, body, told):
    storages = {"0": NUMBERS} if b"Storage" in body else {}
    with pytest.raises(CheckpointError) as error:
        reader.read_model(write("zip", path, body, storages))
    assert told in str(error.value) and str(error.value).count(str(path)) == 1
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("protocol", [2, 4])
def test_values_beside_the_weights(path, protocol):
    beside = {
        "best": np.float64(0.5),
        "count": np.int64(7),
        "flag": np.bool_(True),
        "half": np.float16(2),
        "byte": np.uint8(255),
        1.5: "a float key",
        ("lr", 0): "a tuple key",
        None: 1,
        "counts": Counter("aab"),
        "lists": defaultdict(list, {"x": [1]}),
        "table": np.arange(3),
        "where": PurePosixPath("/a/b"),
        "when": np.datetime64("2020-01-01"),
    }
    if protocol == 2:  # PyTorch's
        beside["words"] = {"a"}
    write_zip(path, pickle.dumps(beside, protocol), {})
    found = reader.read_pth(path)
    numbers = {"best": 0.5, "count": 7, "flag": True, "half": 2.0, "byte": 255}
    assert {name: found[name] for name in numbers} == numbers
    assert all(type(found[name]) is type(value) for name, value in numbers.items())
    assert found[1.5] == "a float key" and found["lr", 0] == "a tuple key" and found[None] == 1
    assert found["counts"] == {"a": 2, "b": 1} and found["lists"] == {"x": [1]}
    for name in ("table", "where", "when"):
        assert isinstance(found[name], Inert), name


def test_numpy_scalars_do_not_call_anything(path):
    """What looks like NumPy's function, with arguments that it would not take."""
    for arguments in ((), ("f8",), (b"", b""), (OrderedDict(), b"12345678")):
        call = b"cnumpy.core.multiarray\nscalar\n" + pickle.dumps(arguments, 2)[2:-1] + b"R"
        path.unlink(missing_ok=True)
        write("zip", path, mapping(x=call), {})
        try:
            assert isinstance(reader.read_pth(path)["x"], Inert)
        except CheckpointError as error:
            assert "REDUCE" in str(error)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"model.{name}",
        lambda name: name.replace("visual_encoder.", "visual_encoder._orig_mod."),
    ],
)
def test_names_of_compiled_and_wrapped_models(path, rename):
    state = {rename(name): array for name, array in saved("retrieval").items()}
    writer.write_pth(path, state, {})
    found = read_checkpoint(path)
    assert found.task == "retrieval" and not found.unused
    np.testing.assert_array_equal(
        found.params["temperature"], read_checkpoint(TINY / "retrieval.pth").params["temperature"]
    )


def test_a_name_with_the_mark_and_without_is_refused(path):
    writer.write_pth(path, {"a": NUMBERS, "_orig_mod.a": NUMBERS + 1}, {})
    with pytest.raises(CheckpointError, match=r"saved\.pth: _orig_mod\.a occurs twice"):
        weights_file.read_weights(path)


def test_conversion_tells_what_was_beside(tmp_path):
    report = convert(TINY / "pretrain.pth", tmp_path / "new.safetensors")
    assert "beside the weights: optimizer, lr_scheduler, config, epoch" in report.notes
