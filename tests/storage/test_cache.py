"""The cache by itself: what it keeps, what it removes, and what it does not believe."""

import os
import subprocess
import sys
import threading
import time

import pytest

from albef_jax.storage.cache import CHUNK, Cache
from tests.helpers.processes import ROOT

DATA = os.urandom(5 * CHUNK + 1000)


class Bucket:
    """An object, and the ranges of it that were asked for."""

    def __init__(self, data=DATA):
        self.data, self.asked = data, []

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        return self.data[start:stop]


def on_disk(folder):
    files = [path for part in ("regions", "files") for path in (folder / part).rglob("*")]
    return sum(path.stat().st_blocks * 512 for path in files if path.is_file())


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 10)],
        [(CHUNK - 5, 10), (0, 0), (3 * CHUNK, CHUNK)],
        [(0, len(DATA))],
        [(len(DATA) - 7, 7), (5, 2)],
    ],
)
def test_parts_are_read_once(tmp_path, spans):
    cache, bucket = Cache(tmp_path, 10**9), Bucket()
    expected = [DATA[start : start + size] for start, size in spans]
    assert cache.read("k", len(DATA), spans, bucket) == expected
    asked = list(bucket.asked)
    assert Cache(tmp_path, 10**9).read("k", len(DATA), spans, bucket) == expected
    assert bucket.asked == asked and len(asked) == 1
    assert cache.read("another", len(DATA), spans, Bucket(DATA[::-1])) != expected


def test_only_what_is_missing_is_fetched(tmp_path):
    cache, bucket = Cache(tmp_path, 10**9), Bucket()
    cache.read("k", len(DATA), [(2 * CHUNK, 5)], bucket)
    cache.read("k", len(DATA), [(CHUNK, 3 * CHUNK)], bucket)
    assert bucket.asked == [(2 * CHUNK, 3 * CHUNK), (CHUNK, 4 * CHUNK)]
    far = os.urandom(40 * CHUNK)
    bucket = Bucket(far)
    assert (
        cache.read("far", len(far), [(0, 5), (30 * CHUNK, 5)], bucket)[1][:5]
        == (far[30 * CHUNK : 30 * CHUNK + 5])
    )
    assert bucket.asked == [(0, CHUNK), (30 * CHUNK, 31 * CHUNK)]


@pytest.mark.parametrize("harm", ["a byte", "cut", "the entries"])
def test_what_is_damaged_is_fetched_again(tmp_path, harm):
    cache = Cache(tmp_path, 10**9)
    cache.read("k", len(DATA), [(0, len(DATA))], Bucket())
    (file,) = (path for path in (tmp_path / "regions").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2]
    else:
        content[-9 if harm == "a byte" else 2] ^= 255
    file.write_bytes(content)
    bucket = Bucket()
    assert cache.read("k", len(DATA), [(0, len(DATA))], bucket) == [DATA]
    assert len(bucket.asked) == 1
    assert cache.read("k", len(DATA), [(0, len(DATA))], bucket) == [DATA]
    assert len(bucket.asked) == 1


def test_the_limit_holds_and_what_was_used_last_stays(tmp_path):
    limit = 64 * CHUNK
    cache = Cache(tmp_path, limit)
    kept = Bucket()
    for number in range(60):
        cache.read("kept", len(DATA), [(0, 5)], kept)
        for path in cache._touched:  # as if a minute went by
            cache._touched[path] -= 100
        cache.read(f"other {number}", len(DATA), [(0, len(DATA))], Bucket())
        assert on_disk(tmp_path) <= limit
    assert len(kept.asked) == 1
    assert on_disk(tmp_path) > limit // 2


def test_a_disk_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache", 10**9)
    bucket = Bucket()
    for _ in range(2):
        assert cache.read("k", len(DATA), [(7, 9)], bucket) == [DATA[7:16]]
    assert len(bucket.asked) == 2


def test_threads_read_the_same(tmp_path):
    cache, wrong = Cache(tmp_path, 40 * CHUNK), []

    def read(seed):
        for number in range(60):
            start = (number * 7919 * (seed + 1)) % (len(DATA) - 500)
            key = f"k{number % 9}"
            if cache.read(key, len(DATA), [(start, 500)], Bucket()) != [DATA[start : start + 500]]:
                wrong.append((seed, number))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_in_use_is_not_removed(tmp_path):
    cache = Cache(tmp_path, 10 * CHUNK)
    done = []

    def download(path):
        done.append(path)
        path.write_bytes(DATA)

    here = cache.file("k", "a.bin", len(DATA), download)
    assert cache.file("k", "a.bin", len(DATA), download) == here and len(done) == 1
    for number in range(20):
        Cache(tmp_path, 10 * CHUNK).read(str(number), len(DATA), [(0, len(DATA))], Bucket())
    assert here.read_bytes() == DATA
    with pytest.raises(ValueError, match="in use at once, and storage"):
        cache.file("another", "a.bin", len(DATA), download)


def test_a_damaged_file_is_not_kept(tmp_path):
    def download(path):
        path.write_bytes(b"half")
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        Cache(tmp_path, 10**9).file("k", "a.bin", len(DATA), download)
    assert not [path for path in tmp_path.rglob("*a.bin*") if path.suffix != ".lock"]


READER = """
import sys, random
from pathlib import Path
from albef_jax.storage.cache import CHUNK, Cache
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
data = random.Random(0).randbytes(9 * CHUNK)
cache, draw = Cache(folder, 48 * CHUNK), random.Random(seed)
for number in range(400):
    start, key = draw.randrange(len(data) - 300), f"k{draw.randrange(12)}"
    found = cache.read(key, len(data), [(start, 300)], lambda a, b: data[a:b])
    assert found == [data[start : start + 300]], (key, start)
print("equal")
"""


def test_processes_share_the_folder_while_they_sweep(tmp_path):
    """Each sweeps as often as it has written a sixty-fourth of the limit."""
    command = [sys.executable, "-c", READER, str(tmp_path)]
    both = [
        subprocess.Popen([*command, str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]
    most = 0
    while any(process.poll() is None for process in both):
        most = max(most, on_disk_now(tmp_path))
        time.sleep(0.005)
    assert [process.communicate()[0] for process in both] == ["equal\n"] * 2
    assert 0 < most <= 48 * CHUNK


def on_disk_now(folder):
    try:
        return on_disk(folder)
    except FileNotFoundError:  # removed between being listed and looked at
        return 0
