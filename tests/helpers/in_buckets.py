"""Data for tests in a bucket, and the settings that read it."""

import pytest

from albef_jax.storage import settings
from albef_jax.storage.paths import BucketPath


@pytest.fixture
def cache_dir(tmp_path, monkeypatch):
    """An empty cache of 50 MB, and little patience."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(settings, "_current", settings.Settings(5, str(folder), 0.05))
    return folder


def uploaded(folder, address):
    """Upload the files of a folder; their addresses, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = []
    for file in files:
        found.append(BucketPath(address) / file.relative_to(folder).as_posix())
        found[-1].upload(file)
    return found
