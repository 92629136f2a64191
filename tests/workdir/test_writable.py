"""A workdir that takes no files is one line, and nothing is left behind."""

import errno
import os

import pytest

from albef_jax.config.defaults import default
from albef_jax.errors import ConfigError, RunError
from albef_jax.run import run
from albef_jax.workdir import writable
from albef_jax.workdir.lock import locked
from albef_jax.workdir.writable import explain_write_error, prepare


def refused(workdir):
    with pytest.raises(RunError) as error:
        run(default(), workdir, "the command", eval_only=False)
    (line,) = str(error.value).splitlines()
    return line


def test_a_file_and_below_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for workdir in (file, file / "run", file / "deep" / "run"):
        line = refused(workdir)
        assert (
            line.startswith(f"{workdir}: cannot be used (") and "choose another --workdir" in line
        )
    assert list(tmp_path.iterdir()) == [file]
    (tmp_path / "checkpoints").write_text("")
    assert "must be a directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "No space left on device). Make room; the same command continues"),
        (errno.EDQUOT, "). Make room; the same command continues"),
        (errno.EROFS, "Read-only file system). Let this user read and write there"),
        (errno.EACCES, "Permission denied). Let this user read and write there"),
    ],
)
def test_what_the_disk_says(tmp_path, monkeypatch, code, remedy):
    """Made up, since root may write everywhere."""

    def fails(**options):
        raise OSError(code, os.strerror(code), str(options["dir"]))

    monkeypatch.setattr(writable.tempfile, "TemporaryFile", fails)
    assert remedy in refused(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_of_others(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for workdir in (tmp_path, tmp_path / "run"):
            assert "Permission denied" in refused(workdir)
    finally:
        tmp_path.chmod(0o700)


def test_a_lock_of_another_user(tmp_path):
    (tmp_path / "lock").mkdir()  # cannot be opened, as little as one without the right
    with pytest.raises(ConfigError, match="cannot be used"), locked(tmp_path):
        pass


def test_nothing_is_left_of_the_trial(tmp_path):
    prepare(tmp_path / "a" / "run")
    assert not list((tmp_path / "a" / "run").iterdir())


def test_errors_of_other_files_are_not_the_workdirs(tmp_path):
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/data/a.json")
    assert explain_write_error(tmp_path, elsewhere) is None
    below = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "report"))
    assert explain_write_error(tmp_path, below).count("report") == 1
    assert (
        explain_write_error(tmp_path, OSError(errno.ENOSPC, "No space left on device")) is not None
    )
