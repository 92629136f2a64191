"""The stores that tests run against do what the real ones promise."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException

import fsspec
import pytest

from tests.helpers.buckets import BUCKET, forget_filesystems
from tests.helpers.faulty_proxy import Fault


@pytest.fixture
def files(bucket):
    return fsspec.filesystem(bucket.kind)


def create(files, name, content) -> bool:
    try:
        files.pipe_file(name, content, mode="create")
    except FileExistsError:
        return False
    return True


def test_one_of_eight_threads_creates_an_object(bucket, files):
    for turn in range(5):
        name = f"{bucket.address}/lock{turn}"
        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(lambda n, name=name: create(files, name, b"%d" % n), range(8)))
        assert sum(created) == 1
        assert files.cat_file(name) == b"%d" % created.index(True)


def test_a_process_creates_what_no_other_has(bucket, files):
    script = (
        "import fsspec, sys; files = fsspec.filesystem(sys.argv[1]);"
        "files.pipe_file(sys.argv[2], b'child', mode='create')"
    )
    name = f"{bucket.address}/lock"
    command = [sys.executable, "-c", script, bucket.kind, name]
    subprocess.run(command, check=True)
    assert not create(files, name, b"parent") and files.cat_file(name) == b"child"
    assert bucket.names() == ["lock"]


def test_ranges(bucket, files):
    name, content = f"{bucket.address}/numbers", bytes(range(256))
    files.pipe_file(name, content)
    assert files.cat_file(name, start=10, end=20) == content[10:20]
    assert files.cat_ranges([name, name], [0, 250], [3, 256]) == [content[:3], content[250:]]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"--", b""])
def test_bytes_come_back_as_they_were_sent(bucket, files, end):
    name, content = f"{bucket.address}/bytes", b"\r\n\r\n--==0==x\r" + end
    files.pipe_file(name, content)
    assert files.cat_file(name) == content and files.size(name) == len(content)


def test_a_large_file(bucket, files, tmp_path):
    content, name = os.urandom(30 << 20), f"{bucket.address}/large"
    (tmp_path / "large").write_bytes(content)
    files.put_file(str(tmp_path / "large"), name)
    files.get_file(name, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    with files.open(name) as opened:
        opened.seek(1000)
        assert opened.read(10) == content[1000:1010]
    with pytest.raises(FileExistsError):
        files.put_file(str(tmp_path / "large"), name, mode="create")


def test_listing_copying_moving_and_deleting(bucket, files):
    start = bucket.address.partition("://")[2]
    for name in ("a", "b/c", "b/d/e"):
        files.pipe_file(f"{start}/{name}", name.encode())
    assert files.ls(start, detail=False, refresh=True) == [f"{start}/a", f"{start}/b"]
    files.cp_file(f"{start}/a", f"{start}/copy of a")
    files.mv(f"{start}/a", f"{start}/b/moved")
    files.rm_file(f"{start}/b/c")
    assert bucket.names() == ["b/d/e", "b/moved", "copy of a"]
    assert files.cat_file(f"{start}/b/moved") == b"a"
    files.rm(f"{start}/b", recursive=True)
    assert bucket.names() == ["copy of a"]


def test_nothing_is_in_a_bucket_that_does_not_exist(bucket, files):
    missing = bucket.address.replace(f"//{BUCKET}/", "//nowhere/")
    for ask in (files.ls, files.cat_file, lambda name: files.pipe_file(name, b"")):
        with pytest.raises(FileNotFoundError):
            ask(missing)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_breaks_off_leaves_nothing(bucket, chunked):
    _, _, path = bucket.address.partition(f"//{BUCKET}/")
    where = f"/{BUCKET}/{path}/half", "PUT"
    if bucket.kind == "gs":
        upload = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={path}/half"
        where = upload, "POST"

    def send():
        connection = HTTPConnection("127.0.0.1", bucket.proxy.port, timeout=20)
        try:
            pieces = [bytes(1000), bytes(1000)]
            connection.request(*where[::-1], iter(pieces) if chunked else b"".join(pieces))
            return connection.getresponse().status
        finally:
            connection.close()

    with bucket.proxy.faulty(Fault(drop_after=1500)), pytest.raises((HTTPException, OSError)):
        send()
    time.sleep(0.2)  # for the server to be wrong in
    assert bucket.names() == []
    assert send() == 200 and bucket.names() == ["half"]


def test_a_generation_is_deleted_once(bucket, files):
    if bucket.kind == "s3":
        pytest.skip("S3 has no generations")
    name = f"{bucket.address}/lock"
    files.pipe_file(name, b"old")
    old = files.info(name)["generation"]
    files.pipe_file(name, b"new")
    bucket_name, key, _ = files.split_path(name)
    with pytest.raises(FileExistsError):
        files.call("DELETE", "b/{}/o/{}", bucket_name, key, ifGenerationMatch=old)
    assert files.cat_file(name) == b"new"


def test_each_test_has_a_folder_of_its_own(bucket, files):
    assert bucket.names() == []
    forget_filesystems()
    assert fsspec.filesystem(bucket.kind) is not files
