"""Folders in buckets of real servers."""

import pickle
import threading

import pytest

from albef_jax.storage.addresses import in_bucket, join, parent_and_name, split
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError
from tests.helpers.faulty_proxy import Fault


@pytest.fixture
def folder(bucket):
    return BucketFolder(bucket.address, patience=5)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("gs://bucket", ("gs", "bucket", "")),
        ("gs://bucket/", ("gs", "bucket", "")),
        ("s3://bucket/a//b/", ("s3", "bucket", "a/b")),
        ("s3://bucket/a b?c", ("s3", "bucket", "a b?c")),
    ],
)
def test_parts_of_an_address(address, parts):
    assert in_bucket(address) and split(address) == parts


@pytest.mark.parametrize("address", ["gs://", "s3:///key", "gs:bucket"])
def test_no_address(address):
    with pytest.raises(ValueError, match="has the form gs://BUCKET/NAME"):
        split(address)


def test_joined_addresses():
    assert join("gs://b/run/", "/x/y") == "gs://b/run/x/y"
    assert join("gs://b", "s3://c/x") == "s3://c/x"
    assert parent_and_name("gs://b/run/x") == ("gs://b/run", "x")
    assert parent_and_name("gs://b/run") == ("gs://b", "run")
    assert not in_bucket("https://b/x") and not in_bucket("runs/gs")


def test_objects_and_folders(folder):
    assert folder.entries() == {} and folder.children() == []
    folder.write("a/x", b"12345")
    folder.write("a/y/z", b"")
    folder.write("ab", b"1")
    assert folder.read("a/x") == b"12345" and folder.read("a/x", 1, 3) == b"23"
    assert list(folder.entries()) == ["a/x", "a/y/z", "ab"]
    assert list(folder.entries("a")) == ["a/x", "a/y/z"]
    assert folder.children() == ["a", "ab"] and folder.children("a") == ["x", "y"]
    assert list(folder.folder("a").entries("y")) == ["y/z"]
    assert folder.entry("a") is None and folder.entry("none") is None
    before = folder.entry("a/x")
    folder.write("a/x", b"54321")
    assert folder.entry("a/x").size == before.size == 5
    assert folder.entry("a/x").version != before.version
    folder.copy("a/x", "b/x")
    folder.delete(["a/x", "not there"])
    assert folder.read("b/x") == b"54321"
    with pytest.raises(FileNotFoundError):
        folder.read("a/x")


def test_files_up_and_down(folder, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 50_000)
    folder.upload(big, "x/big")
    folder.download("x/big", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == big.read_bytes()
    with pytest.raises(FileNotFoundError):
        folder.download("none", tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "big"]


def test_of_many_who_create_one_succeeds(folder):
    gate, created = threading.Barrier(6), []

    def create(number):
        gate.wait()
        created.append(folder.create("lock", str(number).encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * 5 + [True]


def test_a_creation_that_is_tried_again_counts(folder, bucket):
    """Its object may be there already, if the answer was lost."""
    with bucket.proxy.faulty(Fault(match="^(PUT|POST)", status=503, times=1)):
        assert folder.create("lock", b"mine")
    assert folder.create("lock", b"mine") and not folder.create("lock", b"other")


def test_a_copy_for_another_process(folder):
    folder.write("x", b"1")
    assert pickle.loads(pickle.dumps(folder)).read("x") == b"1"


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    nowhere = BucketFolder(f"{bucket.kind}://nowhere/run", patience=5)
    with pytest.raises(StorageError, match="there is no bucket nowhere"):
        nowhere.check()
    with pytest.raises(StorageError, match=r"cannot be written .*is there a bucket nowhere"):
        nowhere.write("x", b"1")
    BucketFolder(bucket.address).check()  # empty, and there
