import os
import tarfile
from pathlib import Path

import pytest

from albef_jax.data.shards.tar_index import open_index
from albef_jax.system.user_cache import user_cache


@pytest.fixture
def homeless(monkeypatch):
    """A container with another user than its image knows."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_no_cache_and_shards_are_read(tmp_path, monkeypatch):
    assert user_cache() is None
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"))
    replace = os.replace

    def read_only(source, target, **options):
        if str(target).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(target))
        return replace(source, target, **options)

    monkeypatch.setattr("os.replace", read_only)
    index, kept = open_index(tmp_path / "0.tar")
    assert list(index.keys) == [b"a"] and not kept


def test_with_one(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert user_cache() == Path("/c/albef_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert user_cache() == Path("/h/.cache/albef_jax")
