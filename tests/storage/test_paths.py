"""Addresses that read like paths, with real servers."""

import os
import pickle
import tarfile

import pytest

from albef_jax.config.file_patterns import expand
from albef_jax.storage import settings
from albef_jax.storage.paths import BucketPath, below, path_of, under
from albef_jax.storage.ranges import Replaced
from albef_jax.storage.retries import StorageError
from tests.helpers.faulty_proxy import Fault
from tests.helpers.in_buckets import uploaded

DATA = os.urandom(300_000)


def test_texts_name_paths_or_addresses(tmp_path, cache_dir):
    assert path_of("a/b") == under("a", "b")
    assert str(under("gs://b/x/", "y//z/./w")) == "gs://b/x/y/z/w"
    assert str(under("gs://b/x", "/data/y")) == "/data/y"
    assert str(under(tmp_path, "s3://b/y")) == "s3://b/y"
    found = path_of("s3://b/x/y.tar.gz")
    assert (found.name, found.suffix, str(found.parent)) == ("y.tar.gz", ".gz", "s3://b/x")
    assert [str(one) for one in found.parents] == ["s3://b/x", "s3://b"]
    assert below(path_of("s3://b"), found) == "x/y.tar.gz"
    assert {found, path_of("s3://b/x//y.tar.gz")} == {found}
    with pytest.raises(ValueError, match="has the form gs://BUCKET/NAME"):
        path_of("gs://")


def test_an_object_reads_as_a_file_does(bucket, cache_dir):
    path = BucketPath(bucket.address) / "a" / "x.bin"
    assert not path.exists() and not path.is_file() and not path.parent.is_dir()
    with pytest.raises(FileNotFoundError) as error:
        path.read_bytes()
    assert error.value.strerror == "there is no such object"
    path.write_bytes(DATA)
    assert path.is_file() and path.exists() and path.parent.is_dir() and not path.is_dir()
    assert path.read_bytes() == DATA and path.stat().st_size == len(DATA)
    assert path.read_spans([(10, 5), (299_990, 10)]) == [DATA[10:15], DATA[-10:]]
    assert [one.name for one in path.parent.iterdir()] == ["x.bin"]
    assert list(path.parent.parent.walk_files()) == [path]
    assert path.here().read_bytes() == DATA and path.here().name == "x.bin"
    with path.open() as file:
        file.seek(1000)
        assert file.read(70_000) == DATA[1000:71_000]
        assert file.seek(-5, os.SEEK_END) and file.read() == DATA[-5:]
    path.write_bytes(b"a\r\nb")
    assert path.read_text() == "a\nb"
    path.unlink()
    assert not path.exists()


def test_what_was_read_needs_no_bucket(bucket, cache_dir):
    path = BucketPath(bucket.address) / "x.bin"
    path.write_bytes(DATA)
    path.read_bytes()
    before = len(bucket.proxy.requests)
    again = pickle.loads(pickle.dumps(path))
    assert again.read_bytes() == DATA and again.is_file()
    assert len(bucket.proxy.requests) == before


def test_a_pickled_address_keeps_its_settings(cache_dir, monkeypatch):
    path = BucketPath("gs://b/x")
    sent = pickle.dumps(path)
    monkeypatch.setattr(settings, "_current", settings.Settings())
    assert pickle.loads(sent)._settings == path._settings != BucketPath("gs://b/x")._settings


def test_a_version_is_never_mixed_with_another(bucket, cache_dir):
    path = BucketPath(bucket.address) / "x.bin"
    path.write_bytes(DATA)
    path.read_spans([(0, 5)])
    folder, name = path._folder(), path._key
    folder.write(name, DATA[::-1])  # by somebody else
    with pytest.raises(Replaced, match="written again"):
        path.read_spans([(200_000, 5)])
    assert path.read_bytes() == DATA[::-1]  # as a whole, and as it is now
    assert path.read_spans([(0, 5)]) == [DATA[::-1][:5]]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", status=503, times=2),
        Fault("GET", drop_after=50_000, times=2),
        Fault("GET", drop_after=0, times=1),
    ],
)
def test_what_passes_is_tried_again(bucket, cache_dir, fault):
    path = BucketPath(bucket.address) / "x.bin"
    path.write_bytes(DATA)
    path.entry()
    with bucket.proxy.faulty(fault):
        assert path.read_bytes() == DATA
    assert fault.hits


def test_no_answer_is_one_clear_error(bucket, cache_dir, monkeypatch):
    if bucket.kind == "gs":
        pytest.skip("gcsfs itself tries for half a minute")
    monkeypatch.setattr(settings, "_current", settings.Settings(0.6, str(cache_dir), 0.05))
    path = BucketPath(bucket.address) / "x.bin"
    with bucket.proxy.faulty(Fault(status=503)), pytest.raises(StorageError) as error:
        path.read_bytes()
    assert str(error.value).startswith(f"{path}: no success for ")
    assert "storage.retry_seconds=0.6" in str(error.value) and "\n" not in str(error.value)


def test_patterns_take_one_listing_for_a_folder(bucket, cache_dir, tmp_path):
    names = ["a.json", "cc/00000.tar", "cc/00001.tar", "cc/00002.tar", "cc/.hidden", "cc/d/3.tar"]
    for name in names:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(b"x")
    uploaded(tmp_path / "up", bucket.address)

    def found(text, root=bucket.address):
        return [below(path_of(bucket.address), path) for path in expand(root, text)]

    tars = names[1:4]
    bucket.proxy.forget()
    assert found("cc/{00000..00003}.tar") == [*tars, "cc/00003.tar"]
    assert [path.is_file() for path in expand(bucket.address, "cc/{00000..00002}.tar")] == [
        True
    ] * 3
    assert len(bucket.proxy.requests) <= 4  # a listing each, of a page or two
    assert found("cc/*") == [*tars, "cc/d"]
    assert found("a.json,cc/0000[!1].tar") == ["a.json", tars[0], tars[2]]
    assert found("cc/**/*.tar") == [*tars, "cc/d/3.tar"]
    assert found("c?/*{0,2}.tar") == [tars[0], tars[2]]
    assert found(f"{bucket.address}/cc/*1.tar", "elsewhere") == tars[1:2]
    assert found("no/*.tar") == ["no/*.tar"]
    assert expand(bucket.address, str(tmp_path / "up" / "*.json")) == (tmp_path / "up" / "a.json",)


def test_a_walk_over_large_members_does_not_read_them(bucket, cache_dir, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(3):
            (tmp_path / f"{number}").write_bytes(os.urandom(4_000_000))
            tar.add(tmp_path / f"{number}", f"{number}.bin")
    path = BucketPath(bucket.address) / "x.tar"
    path.upload(tmp_path / "x.tar")
    bucket.proxy.forget()
    with path.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
        assert [member.name for member in tar] == ["0.bin", "1.bin", "2.bin"]
    assert bucket.proxy.bytes < 3_000_000
