import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import CheckpointError, SaveError


def items(value: float) -> dict:
    tree = {"kernel": jnp.full((8, 4), value), "step": jnp.int32(value)}
    return {"params": tree, "train": {"key": jax.random.key(int(value)), "moments": (tree, tree)}}


def abstract(tree: dict, sharding) -> dict:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


@pytest.fixture
def replicated():
    return NamedSharding(make_mesh(), PartitionSpec())


def test_round_trip_keeps_every_bit_and_the_random_key(tmp_path, replicated):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, items(3))
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() == 3
        restored = checkpoints.restore(3, abstract(items(3), replicated))
    np.testing.assert_array_equal(restored["params"]["kernel"], np.full((8, 4), 3.0))
    key = restored["train"]["key"]
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(3)))
    assert restored["train"]["moments"][1]["step"] == 3


def test_one_item_alone_onto_another_mesh(tmp_path):
    mesh = make_mesh(fsdp=4, devices=jax.devices()[:8])
    sharded = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, items(1))
        wanted = {"params": {"kernel": jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=sharded)}}
        wanted["params"]["step"] = jax.ShapeDtypeStruct(
            (), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec())
        )
        checkpoints._manager.wait_until_finished()
        restored = checkpoints.restore(1, wanted)
    assert restored.keys() == {"params"}
    kernel = restored["params"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (8, 1)


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, items(step))
        checkpoints.save(3, items(4))  # saved already: left alone
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [2, 3]


def step_files(directory):
    """Files of the newest step, with what may be done to each of them."""
    files = sorted(path for path in (directory / "2").rglob("*") if path.is_file())
    return [(path.relative_to(directory), how) for path in files for how in ("cut", "deleted")]


def harm(file, how):
    if how == "deleted":
        file.unlink()
    elif how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    with Checkpoints(directory, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, items(step))
    return directory


def values(restored):
    return float(restored["params"]["kernel"][0, 0]), int(restored["train"]["moments"][1]["step"])


def test_whatever_file_is_damaged_the_run_goes_on(two_steps, tmp_path, replicated, capsys):
    """From that step, where the file is not needed; else from the one before, and it says so."""
    fallbacks = 0
    for number, (file, how) in enumerate(step_files(two_steps)):
        directory = tmp_path / str(number)
        shutil.copytree(two_steps, directory)
        harm(directory / file, how)
        with Checkpoints(directory, keep=2) as checkpoints:
            step, restored = checkpoints.restore_newest(
                abstract(items(2), replicated), move_aside=True
            )
            assert values(restored) == (step, step), (file, how)
            told = capsys.readouterr().err
            if step == 2:
                assert len(file.parts) == 2, f"{file} is part of an item"
                assert "cannot be used" not in told
                continue
            fallbacks += 1
            assert "the checkpoint of step 2" in told and "Falling back to step 1" in told
            assert str(file.relative_to("2")) in told, "the message names the file"
            assert (directory / "broken-2" / "params").is_dir()
            if how == "cut" and file.name == "manifest.ocdbt":
                checkpoints.save(2, items(2))
                checkpoints.wait()
                assert checkpoints.latest() == 2
                assert (directory / "broken-2").is_dir()
    assert fallbacks > 20


def test_a_flipped_bit_is_noticed(two_steps, tmp_path, replicated, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    (file,) = (tmp_path / "run" / "2" / "params" / "d").iterdir()
    harm(file, "flipped")
    with Checkpoints(tmp_path / "run", keep=2) as checkpoints:
        step, _ = checkpoints.restore_newest(abstract(items(2), replicated), move_aside=False)
    assert step == 1
    assert "has other content than was written" in capsys.readouterr().err
    assert (tmp_path / "run" / "2").is_dir() and not (tmp_path / "run" / "broken-2").exists()


def single(value: float) -> dict:
    """One array: no other is still being read when it fails."""
    return {"params": {"kernel": jnp.full((8, 4), value)}}


def test_a_step_without_a_seal_is_found_out_by_reading(tmp_path, replicated, capsys):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, single(step))
            checkpoints.wait()
            (tmp_path / str(step) / "files.json").unlink()
        harm(tmp_path / "2" / "params" / "_METADATA", "cut")
        step, restored = checkpoints.restore_newest(
            abstract(single(1), replicated), move_aside=True
        )
    assert step == 1 and float(restored["params"]["kernel"][0, 0]) == 1
    assert "the checkpoint of step 2" in capsys.readouterr().err


def test_a_second_broken_step_gets_another_name(tmp_path, replicated, capsys):
    wanted = abstract(single(1), replicated)
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(1, single(1))
        for _ in range(2):
            checkpoints.save(2, single(2))
            checkpoints.wait()
            harm(tmp_path / "2" / "params" / "manifest.ocdbt", "deleted")
            assert checkpoints.restore_newest(wanted, move_aside=True)[0] == 1
    assert (tmp_path / "broken-2").is_dir() and (tmp_path / "broken-2.2").is_dir()
    assert "kept as broken-2.2" in capsys.readouterr().err


def test_all_damaged_is_one_error_and_nothing_is_moved(two_steps, tmp_path, replicated):
    shutil.copytree(two_steps, tmp_path / "run")
    for step in ("1", "2"):
        harm(tmp_path / "run" / step / "train" / "manifest.ocdbt", "deleted")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with (
        Checkpoints(tmp_path / "run", keep=2) as checkpoints,
        pytest.raises(CheckpointError, match=r"(?s)no checkpoint can be used.*step 2: .*step 1: "),
    ):
        checkpoints.restore_newest(abstract(items(2), replicated), move_aside=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_a_step_older_than_what_is_there_is_not_dropped_silently(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(5, single(5))
        with pytest.raises(SaveError, match="step 4 is older"):
            checkpoints.save(4, single(4))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import jax.numpy as jnp
import logging
logging.disable(logging.CRITICAL)
from albef_jax.checkpoints.manager import Checkpoints, SaveError
noise = jnp.sin(jnp.arange(1 << 20) ** 2.0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with Checkpoints(Path(sys.argv[1]), keep=1) as checkpoints:
        checkpoints.save(1, {"params": {"kernel": noise}})
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
        checkpoints.save(2, {"params": {"kernel": noise + 1}})
        if sys.argv[2] == "next save":
            checkpoints.save(3, {"params": {"kernel": noise + 2}})
        elif sys.argv[2] == "wait":
            checkpoints.wait()
except SaveError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("noticed", ["next save", "wait", "end"])
def test_a_disk_that_takes_no_more(tmp_path, replicated, noticed):
    """With a bound on the size of files; the error comes from the thread that writes."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), noticed]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "a checkpoint could not be written" in ended.stdout
    assert "File too large" in ended.stdout or "EFBIG" in ended.stdout, ended.stdout
    assert "steps 1 are intact" in ended.stdout
    wanted = {"params": {"kernel": jax.ShapeDtypeStruct((1 << 20,), jnp.float32)}}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        step, restored = checkpoints.restore_newest(abstract(wanted, replicated), move_aside=True)
    assert step == 1 and float(restored["params"]["kernel"][0]) == 0


def test_what_is_kept(tmp_path):
    """The newest, those of a period, and the pinned one as long as it is pinned."""

    def kept():
        checkpoints.wait()
        return sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())

    with Checkpoints(tmp_path, keep=1, keep_every=4) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, {"params": {"w": np.full(2, step, np.float32)}})
            if step == 2:
                checkpoints.pinned = 2
        assert kept() == [2, 4, 6]
        checkpoints.pinned = 6
        checkpoints.save(7, {"params": {"w": np.zeros(2, np.float32)}})
        assert kept() == [4, 6, 7]
