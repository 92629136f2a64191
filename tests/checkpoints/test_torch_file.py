"""The `.pth` reader: golden files, hand-written files of both forms, and hostile ones.

The hand-written pickles use the same operations as PyTorch's own files.
"""

import copy
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from argparse import Namespace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from albef_jax.checkpoints import torch_file, torch_pickle
from albef_jax.checkpoints.torch_file import CheckpointError

TINY = Path(__file__).parents[1] / "golden" / "tiny"
FORMS = ["zip", "stream"]
MEMORY = 20 * 2**20
NUMBERS = np.arange(12, dtype="<f4")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def mapping(**entries):
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def storage(kind="FloatStorage", key="0", numel=12):
    return (
        tuple_of(text("storage"), named("torch", kind), text(key), text("cpu"), number(numel))
        + b"Q"
    )


def tensor(size=(3, 4), stride=(4, 1), offset=0, source=None):
    axes = [tuple_of(*map(number, numbers)) for numbers in (size, stride)]
    hooks = named("collections", "OrderedDict") + b")R"
    arguments = tuple_of(source or storage(), number(offset), *axes, b"\x89", hooks)
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def finished(body):
    return b"\x80\x02" + body + b"."


def write_zip(path, content, storages, byteorder=b"little", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saved/data.pkl", content)
        archive.writestr("saved/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"saved/data/{key}", array.tobytes(), compression)


def write_stream(path, content, storages, little=True):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little}]
    parts = [*(pickle.dumps(part, 2) for part in head), content, pickle.dumps([*storages], 2)]
    for array in storages.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))


def write(form, path, body, storages=None, **options):
    write_form = write_zip if form == "zip" else write_stream
    write_form(path, finished(body), {"0": NUMBERS} if storages is None else storages, **options)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.pth"


@pytest.mark.parametrize(
    ("name", "count"), [("pretrain", 292), ("retrieval", 279), ("vqa", 394), ("nlvr", 376)]
)
def test_golden_state_dicts(name, count):
    assert len(torch_file.read_state_dict(TINY / f"{name}.pth")) == count


def test_golden_facts():
    content = torch_file.read(TINY / "pretrain.pth")
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
    state = torch_file.read_state_dict(write(form, path, mapping(model=views)))
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
    found = torch_file.read_state_dict(write(form, path, body, {"0": array}))["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_values_and_inert_objects(path, form, protocol):
    plain = {"epoch": 3, "lr": [1e-4, None, True], "size": (2, "é"), "args": Namespace(seed=7)}
    content = pickle.dumps(plain, protocol)
    (write_zip if form == "zip" else write_stream)(path, content, {})
    found = torch_file.read(path)
    args = found.pop("args")
    assert args.name == "argparse.Namespace" and args.state == {"seed": 7}
    assert found == {key: value for key, value in plain.items() if key != "args"}


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
        torch_file.read(path)
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
        (b"}(" + b")" + b"Nu", "neither a text nor an integer"),
        (b"}(NNNu", "key without a value"),
        (b"NNa", "not a list"),
        (b"h\x07", "BINGET"),
        (b"Q", "BINPERSID"),
        (tuple_of(*[b"N"] * 5) + b"Q", "reference to a storage"),
        (b"]q\x00h\x00a", "inside themselves"),
        (b")" + b"\x85" * 10_000, "nested more than 64 deep"),
        (b"N0" * 10, "operation POP"),
        (b"N" * torch_pickle.MAX_OPERATIONS, "more than 2000000"),
        (b"", "STOP"),
        (text("a"), "not a dictionary"),
        (named("torch._utils", "_rebuild_parameter") + tuple_of(*[b"N"] * 17) + b"R", "17 arg"),
    ],
)
def test_hostile_pickles_are_refused(path, form, body, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        torch_file.read(write(form, path, body, {}))
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
        torch_file.read(write(form, path, mapping(a=tensor(**arguments))))


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
        torch_file.read(write(form, path, mapping(a=body)))


def test_zip_faults_name_the_member(path):
    body = mapping(a=tensor())
    write("zip", path, body, byteorder=b"big")
    with pytest.raises(CheckpointError, match="byte order b'big'"):
        torch_file.read(path)
    write("zip", path, body, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="saved/data/0: is compressed"):
        torch_file.read(path)
    write("zip", path, body)
    path.write_bytes(path.read_bytes().replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()))
    with pytest.raises(CheckpointError, match="saved/data/0: Bad CRC-32"):
        torch_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    with pytest.raises(CheckpointError, match=r"0 members end in /data\.pkl"):
        torch_file.read(path)


def test_zip_members_that_overlap_are_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saved/data/0", bytes(4096))
        for key in "123":  # the same bytes again under another name
            member = copy.copy(archive.getinfo("saved/data/0"))
            member.filename = f"saved/data/{key}"
            archive.filelist.append(member)
    with pytest.raises(CheckpointError, match="saved/data/1: its 4096 bytes do not fit"):
        torch_file.read(path)


def test_other_files_are_refused(path):
    with pytest.raises(CheckpointError, match="big-endian"):
        torch_file.read(write("stream", path, b"}", {}, little=False))
    for content in (
        b"",
        b"PK",
        b"\x89HDF\r\n\x1a\n" * 9,
        pickle.dumps({"a": 1}, 2),
        b"hello world",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"not a PyTorch checkpoint|too short"):
            torch_file.read(path)
    with pytest.raises(FileNotFoundError):
        torch_file.read(path.with_name("absent.pth"))


@pytest.mark.parametrize("form", FORMS)
def test_no_state_dict(path, form):
    with pytest.raises(CheckpointError, match="'epoch' is a int, not a tensor"):
        torch_file.read_state_dict(write(form, path, mapping(epoch=number(3)), {}))
    with pytest.raises(CheckpointError, match="`model` is a int"):
        torch_file.read_state_dict(write(form, path, mapping(model=number(3)), {}))


def attempt(path, content):
    """Reads `content`; whatever happens must be a result or a `CheckpointError`. True if read."""
    path.write_bytes(content)
    try:
        state = torch_file.read(path)
    except CheckpointError as error:
        assert str(path) in str(error)
        return False
    assert isinstance(state, dict)
    return True


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_a_clear_error(path, form, little_memory):
    content = write(form, path, mapping(a=tensor(), b=tensor((4, 3), (1, 4)))).read_bytes()
    assert attempt(path, content)
    assert not any(attempt(path, content[:length]) for length in range(len(content)))


def test_truncated_golden_file(path, little_memory):
    content = (TINY / "pretrain.pth").read_bytes()
    lengths = [len(content) * part // 40 for part in range(40)]
    assert not any(attempt(path, content[:length]) for length in lengths)


def mutated(content, rng):
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("form", FORMS)
def test_mutated_files(path, form, little_memory):
    content = write(form, path, mapping(a=tensor(), b=tensor((4, 3), (1, 4)))).read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        attempt(path, mutated(content, rng))


def test_mutated_pickles_under_a_correct_checksum(path, little_memory):
    content = finished(mapping(a=tensor(), b=tensor((4, 3), (1, 4)), c=mapping(d=b"](NNe")))
    rng = random.Random(1)
    read = 0
    for _ in range(150):
        write_zip(path, mutated(content, rng), {"0": NUMBERS})
        read += attempt(path, path.read_bytes())
    assert 0 < read < 150


def training_checkpoint(form, path):
    """A model with a tied weight, an optimizer with a storage of its own, an epoch."""
    model = mapping(a=tensor(), b=tensor((4, 3), (1, 4)), c=tensor(source=storage(key="1")))
    body = mapping(
        model=model,
        optimizer=mapping(m=tensor(source=storage(key="2"))),
        epoch=number(3),
        config=mapping(queue_size=number(12)),
    )
    return write(form, path, body, {key: NUMBERS + int(key) for key in "012"})


@pytest.mark.parametrize("form", FORMS)
def test_of_a_training_checkpoint_the_model_alone_is_read(path, form):
    content = training_checkpoint(form, path).read_bytes()
    moments = content.index((NUMBERS + 2).tobytes())
    path.write_bytes(content[:moments] + bytes(48) + content[moments + 48 :])
    state, beside = torch_file.read_model(path)
    assert {name: array[1, 1] for name, array in state.items()} == {"a": 5, "b": 5, "c": 6}
    assert beside == {"epoch": 3, "config": {"queue_size": 12}}
    if form == "zip":  # the damage is in what was not read
        with pytest.raises(CheckpointError, match="data/2: Bad CRC-32"):
            torch_file.read(path)
    else:
        assert not torch_file.read(path)["optimizer"]["m"].any()


def damaged(content, rng):
    """Bytes changed, the end cut off, or a piece put elsewhere."""
    start, end = sorted(rng.sample(range(len(content)), 2))
    kind = rng.randrange(3)
    if kind == 0:
        return mutated(content, rng)
    if kind == 1:
        return content[:end]
    place = rng.randrange(len(content))
    return content[:place] + content[start:end] + content[place + rng.randint(0, 40) :]


@pytest.mark.parametrize("form", FORMS)
def test_damaged_training_checkpoints(path, form, little_memory):
    content = training_checkpoint(form, path).read_bytes()
    whole = {name: array.shape for name, array in torch_file.read_state_dict(path).items()}
    rng = random.Random(2)
    read = 0
    for _ in range(500):
        path.write_bytes(damaged(content, rng))
        try:
            state = torch_file.read_state_dict(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            continue
        read += 1
        if form == "zip" and state.keys() == whole.keys():  # its contents have checksums
            assert all(array.shape == whole[name] for name, array in state.items())
    assert 0 < read < 100
