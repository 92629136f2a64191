"""Where Orbax loses what it writes, nothing is begun; and nothing is sealed that is not whole."""

import os
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.checkpoints import manager
from albef_jax.checkpoints.complete import lack
from albef_jax.checkpoints.convert.conversion import convert
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.checkpoints.paths import check_writable_name
from albef_jax.config.defaults import default
from albef_jax.errors import CheckpointError, RunError, SaveError
from albef_jax.run import run
from tests.helpers.golden_files import golden
from tools import convert_checkpoint

LOST = ["r[1]", "[thesis] x/run", "a\\b", "a**b", "what?", "a*", "deep/[x]/y/z"]


@pytest.mark.parametrize("name", LOST)
def test_a_run_is_refused_before_it_begins(tmp_path, name):
    with pytest.raises(RunError, match=r"--workdir=.*checkpoints cannot be kept") as error:
        run(default(), tmp_path / name, "the command", eval_only=False)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_above_counts_where_the_path_is_relative(tmp_path, monkeypatch):
    (tmp_path / "[thesis] x").mkdir()
    monkeypatch.chdir(tmp_path / "[thesis] x")
    with pytest.raises(RunError, match=r"--workdir=run: .*\[thesis\] x/run: there is '\['"):
        run(default(), manager.Path("run"), "the command", eval_only=False)


def test_names_of_other_bytes_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"not UTF-8"):
        check_writable_name(tmp_path / os.fsdecode(b"a\xffb"), "--workdir")


@pytest.mark.parametrize("name", ["r{1,2}", "a]", "50%", "a@b#c", "two words", "猫é", "~", "$HOME"])
def test_other_letters_do_no_harm(tmp_path, name):
    with Checkpoints(tmp_path / name / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(1, {"params": {"kernel": jnp.ones((2, 3))}})
    assert lack(tmp_path / name / "checkpoints" / "1") is None


def test_conversion_is_refused_before_it_begins(tmp_path, monkeypatch, capsys):
    command = ["convert", str(golden("pretrain")), str(tmp_path / "conv[1]")]
    monkeypatch.setattr(sys, "argv", command)
    assert convert_checkpoint.main() == 1
    told = capsys.readouterr()
    assert "written" not in told.out and "conv[1]" in told.err
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(sys, "argv", [*command[:-1], str(tmp_path / "conv[1].pth")])
    assert convert_checkpoint.main() == 0  # a file is no pattern


def test_a_checkpoint_is_read_where_it_was_moved_to(tmp_path):
    convert(golden("pretrain"), tmp_path / "plain")
    (tmp_path / "plain").rename(tmp_path / "conv[1]")
    found = read_checkpoint(tmp_path / "conv[1]")
    assert np.isfinite(found.params["temperature"])
    (tmp_path / "conv[1]").rename(tmp_path / "a\\b")
    with pytest.raises(CheckpointError, match="cannot be read under") as error:
        read_checkpoint(tmp_path / "a\\b")
    assert "damaged" not in str(error.value)


@pytest.fixture
def saved(tmp_path):
    noise = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    tree = {"kernel": jnp.asarray(noise), "small": jnp.float32(1), "none": None, "empty": ()}
    with Checkpoints(tmp_path / "run", keep=1) as checkpoints:
        checkpoints.save(1, {"params": tree, "train": {"moments": (tree, tree)}})
    return tmp_path / "run" / "1"


def test_a_whole_step_lacks_nothing(saved):
    assert lack(saved) is None


def test_whatever_is_gone_is_named(saved):
    item = saved / "params"
    blocks = max(item.glob("ocdbt.process_0/d/*"), key=lambda file: file.stat().st_size)
    for file in [item / "manifest.ocdbt", item / "_METADATA", *item.glob("d/*"), blocks]:
        kept = file.read_bytes()
        file.unlink()
        assert file.name in str(lack(saved)), file
        file.write_bytes(kept[: len(kept) // 2])
        assert "params" in str(lack(saved)), file
        file.write_bytes(kept)
    assert lack(saved) is None


def test_an_array_that_the_index_does_not_name(saved, tmp_path):
    """As where one process's files were overlooked when they were merged."""
    with Checkpoints(tmp_path / "other", keep=1) as checkpoints:
        checkpoints.save(1, {"params": {"kernel": jnp.ones((64, 256))}})
    other = tmp_path / "other" / "1" / "params"
    (other / "_METADATA").write_bytes((saved / "params" / "_METADATA").read_bytes())
    assert "small" in lack(tmp_path / "other" / "1")


def test_what_is_not_whole_is_not_sealed(tmp_path, monkeypatch):
    def overlooked(written):
        (written / "params" / "manifest.ocdbt").unlink()
        return lack(written)

    tree = {"params": {"kernel": jnp.ones((2, 3))}}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, tree)
        checkpoints.wait()
        monkeypatch.setattr(manager, "lack", overlooked)
        checkpoints.save(2, tree)
        with pytest.raises(SaveError, match=r"manifest\.ocdbt is missing.*steps 1 are intact"):
            checkpoints.wait()
        assert checkpoints.latest() == 1
    assert not list(tmp_path.glob("2*/files.json"))
    monkeypatch.undo()
    with Checkpoints(tmp_path, keep=2) as checkpoints:  # the next start
        assert checkpoints.latest() == 1
        checkpoints.save(2, tree)
    assert (tmp_path / "2" / "files.json").is_file()
