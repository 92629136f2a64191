"""Samples of tar shards by path."""

import os

import pytest

from albef_jax.data.shards.tar_index import open_index
from albef_jax.data.shards.tar_paths import Place, in_shard, keys_of, read_place
from albef_jax.data.shards.tar_samples import IMAGE, TEXT
from albef_jax.errors import BadSample
from tests.helpers.tar_files import image, sample, shard


def test_a_path_through_a_shard(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1))
    assert in_shard(path / "b" / "1") == Place(path, "b/1")
    assert in_shard(path) is None
    (tmp_path / "folder.tar").mkdir()
    assert in_shard(tmp_path / "folder.tar" / "1.jpg") is None


def test_names_are_those_of_paths_and_no_name_comes_twice(tmp_path):
    again = {"1.jpg": image(3), "1.txt": "again"}
    path = shard(
        tmp_path / "a.tar",
        {"./1.jpg": image(1), "./1.txt": "one"},
        {"b/2.jpg": image(2), "b/2.txt": "two"},
        again,
    )
    index, _ = open_index(path)
    names = keys_of(index)
    assert names == ["1", "b/2", "1 (2)"]
    texts = [read_place(in_shard(path / name))[TEXT] for name in names]
    assert texts == [b"one", b"two", b"again"]


def test_files_of_a_sample(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1), sample(2, txt=None))
    files = read_place(Place(path, "000000002"))
    assert files[IMAGE] == image(2)
    assert TEXT not in files
    with pytest.raises(BadSample, match=r"a\.tar/7: there is no sample of this name"):
        read_place(Place(path, "7"))


def test_a_shard_that_is_not_what_it_was(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1))
    place, stamp = Place(path, "000000001"), open_index(path)[0].stamp
    assert read_place(place, stamp)[TEXT] == b"caption 1"
    shard(path, sample(1, txt="newer, and longer"), sample(2))
    with pytest.raises(BadSample, match="changed during the run"):
        read_place(place, stamp)
    assert read_place(place)[TEXT] == b"newer, and longer"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadSample, match="its shard cannot be used: cut short"):
        read_place(place)
    path.unlink()
    with pytest.raises(BadSample, match="cannot be read: No such file"):
        read_place(place)


def test_an_index_is_read_once(tmp_path, monkeypatch):
    path = shard(tmp_path / "a.tar", *(sample(n) for n in range(5)))
    read = []

    def counted(shard):
        read.append(shard)
        return open_index(shard)

    monkeypatch.setattr("albef_jax.data.shards.tar_paths.open_index", counted)
    found = [read_place(Place(path, f"{n:09}"))[IMAGE] for n in range(5)]
    assert found == [image(n) for n in range(5)]
    assert read == [path]
    os.utime(path, ns=(1, 1))
    read_place(Place(path, "000000000"))
    assert len(read) == 2
