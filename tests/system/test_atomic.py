import pytest

from albef_jax.system import atomic


def test_writes_and_replaces(tmp_path):
    file = tmp_path / "a.json"
    for text in ("one", "zwei ü"):
        atomic.write_text(file, text)
        assert file.read_text("utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    atomic.write_text(file, "old")

    def crash(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", crash)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_text(file, "new")
    assert file.read_text() == "old"
