"""Data for tests in a bucket, and the settings that read it."""

import numpy as np
import pytest

from albef_jax.storage import settings
from albef_jax.storage.paths import BucketPath
from tests.helpers.tar_files import sample, shard


@pytest.fixture
def cache_dir(tmp_path, monkeypatch):
    """An empty cache of 50 MB, and little patience."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(settings, "_current", settings.Settings(5, str(folder), 0.05))
    return folder


@pytest.fixture
def tars(tmp_path):
    """Two shards of six samples in all."""
    shard(tmp_path / "up" / "00000.tar", *map(sample, range(4)))
    shard(tmp_path / "up" / "00001.tar", *map(sample, range(4, 6)))
    return tmp_path / "up"


def uploaded(folder, address):
    """Upload the files of a folder; their addresses, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = []
    for file in files:
        found.append(BucketPath(address) / file.relative_to(folder).as_posix())
        found[-1].upload(file)
    return found


def equal(found, expected):
    """The same pairs, but for where they lie."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.image, theirs.image)
        assert (ours.captions, ours.image_id) == (theirs.captions, theirs.image_id)
