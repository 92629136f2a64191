"""Damaged files, and files of another kind, are one clear error that takes little memory."""

import copy
import pickle
import random
import tracemalloc
import zipfile

import pytest

from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from tests.helpers.torch_files import (
    FORMS,
    NUMBERS,
    TINY,
    finished,
    mapping,
    number,
    tensor,
    training_checkpoint,
    write,
    write_zip,
)

MEMORY = 20 * 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved.pth"


def attempt(path, content):
    """Reads `content`; whatever happens must be a result or a `CheckpointError`. True if read."""
    path.write_bytes(content)
    try:
        state = reader.read_pth(path)
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
    whole = {name: array.shape for name, array in reader.read_state_dict(path).items()}
    rng = random.Random(2)
    read = 0
    for _ in range(500):
        path.write_bytes(damaged(content, rng))
        try:
            state = reader.read_state_dict(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            continue
        read += 1
        if form == "zip" and state.keys() == whole.keys():  # its contents have checksums
            assert all(array.shape == whole[name] for name, array in state.items())
    assert 0 < read < 100


def test_zip_faults_name_the_member(path):
    body = mapping(a=tensor())
    write("zip", path, body, byteorder=b"big")
    with pytest.raises(CheckpointError, match="byte order b'big'"):
        reader.read_pth(path)
    write("zip", path, body, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="saved/data/0: is compressed"):
        reader.read_pth(path)
    write("zip", path, body)
    path.write_bytes(path.read_bytes().replace(NUMBERS.tobytes(), NUMBERS[::-1].tobytes()))
    with pytest.raises(CheckpointError, match="saved/data/0: Bad CRC-32"):
        reader.read_pth(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    with pytest.raises(CheckpointError, match=r"0 members end in /data\.pkl"):
        reader.read_pth(path)


def test_zip_members_that_overlap_are_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saved/data/0", bytes(4096))
        for key in "123":  # the same bytes again under another name
            member = copy.copy(archive.getinfo("saved/data/0"))
            member.filename = f"saved/data/{key}"
            archive.filelist.append(member)
    with pytest.raises(CheckpointError, match="saved/data/1: its 4096 bytes do not fit"):
        reader.read_pth(path)


def test_other_files_are_refused(path):
    with pytest.raises(CheckpointError, match="big-endian"):
        reader.read_pth(write("stream", path, b"}", {}, little=False))
    for content in (
        b"",
        b"PK",
        b"\x89HDF\r\n\x1a\n" * 9,
        pickle.dumps({"a": 1}, 2),
        b"hello world",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"not a PyTorch checkpoint|too short"):
            reader.read_pth(path)
    with pytest.raises(FileNotFoundError):
        reader.read_pth(path.with_name("absent.pth"))


@pytest.mark.parametrize("form", FORMS)
def test_no_state_dict(path, form):
    with pytest.raises(CheckpointError, match=r"saved\.pth: no weights: it holds epoch \(int\)"):
        reader.read_state_dict(write(form, path, mapping(epoch=number(3)), {}))
    with pytest.raises(CheckpointError, match=r"no weights: it holds model \(int\)"):
        reader.read_state_dict(write(form, path, mapping(model=number(3)), {}))
