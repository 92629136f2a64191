"""Files made to do harm are refused by the `.pth` reader, and nothing of them is run."""

import os
import pickle

import pytest

from albef_jax.checkpoints.torch_format import reader, unpickler
from albef_jax.errors import CheckpointError
from tests.helpers.torch_files import (
    FORMS,
    mapping,
    named,
    number,
    storage,
    tensor,
    text,
    tuple_of,
    write,
    write_stream,
    write_zip,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.pth"


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_payload_is_not_run(path, tmp_path, form, protocol):
    content = pickle.dumps({"model": Payload(tmp_path / "ran")}, protocol)
    (write_zip if form == "zip" else write_stream)(path, content, {})
    with pytest.raises(CheckpointError, match=r"saved\.pth.*refusing the global (posix|nt)\.mkdir"):
        reader.read_pth(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(content)
    assert (tmp_path / "ran").exists()  # the payload was a working one


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            named("torch._utils", "_import_dotted_name"),
            r"global torch\._utils\._import_dotted_name",
        ),
        (named("torch", "FloatStorage.__class__"), r"global torch\.FloatStorage\.__class__"),
        (b"ios\nsystem\n", "operation INST"),
        (text("os") + number(1) + b"\x93", "STACK_GLOBAL .* not a text"),
        (text("f") + b")R", "REDUCE .* no function"),
        (b"}}b", "BUILD .* has none"),
        (b"}(" + b"]" + b"Nu", "a key that is no text, no number"),
        (b"}(" + b"))\x86" + b"Nu", "no flat tuple"),
        (b"}()" + b"\x85" * 10_000 + b"Nu", "no flat tuple"),  # hashing it would end the process
        (b"}(NNNu", "key without a value"),
        (b"NNa", "not a list"),
        (b"h\x07", "BINGET"),
        (b"Q", "BINPERSID"),
        (tuple_of(*[b"N"] * 5) + b"Q", "reference to a storage"),
        (b"]q\x00h\x00a", "inside themselves"),
        (b")" + b"\x85" * 10_000, "nested more than 64 deep"),
        (b"N0" * 10, "operation POP"),
        (b"N" * unpickler.MAX_OPERATIONS, "more than 2000000"),
        (b"", "STOP"),
        (text("a"), "not a dictionary"),
        (named("torch._utils", "_rebuild_parameter") + tuple_of(*[b"N"] * 17) + b"R", "17 arg"),
    ],
)
def test_hostile_pickles_are_refused(path, form, body, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        reader.read_pth(write(form, path, body, {}))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"size": (3, 5), "stride": (4, 1)}, "does not fit its storage of 12"),
        ({"offset": 1}, "does not fit"),
        ({"size": (12,), "stride": (2**60,)}, "does not fit"),
        ({"size": (2**40,), "stride": (0,)}, r"does not fit.*contiguous"),
        ({"stride": (-4, 1)}, "natural number"),
        ({"offset": -1}, "natural number"),
        ({"stride": (1,)}, "2 sizes and 1 strides"),
        ({"size": (1,) * 40, "stride": (1,) * 40}, "short tuple"),
        ({"size": (0, 2**63), "stride": (1, 1)}, "REDUCE at byte|dimension"),
        ({"source": b"N"}, "without a storage"),
    ],
)
def test_tensors_outside_their_storage_are_refused(path, form, arguments, reason):
    with pytest.raises(CheckpointError, match=reason):
        reader.read_pth(write(form, path, mapping(a=tensor(**arguments))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (tensor((13,), (1,), source=storage(numel=13)), "0.*(announce|elements)"),
        (tensor((1,), (1,), source=storage(numel=2**50)), "0.*(announce|larger than the file)"),
        (tensor((1,), (1,), source=storage(numel=-1)), "no plain size"),
        (tensor(source=storage(key="1")), "(data/1|keys of the storages)"),
        (tensor(source=storage(key="../byteorder")), "(byteorder|keys of the storages)"),
        (tuple_of(tensor(), tensor(source=storage("IntStorage"))), "two types or sizes"),
    ],
)
def test_storages_must_be_as_announced(path, form, body, reason):
    with pytest.raises(CheckpointError, match=reason):
        reader.read_pth(write(form, path, mapping(a=body)))
