import hashlib
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.images.decode import decode
from albef_jax.data.prepare import packing, shard
from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.records import Pair
from albef_jax.data.shards.array_record import ArrayRecordPairs
from albef_jax.data.tokenizer import Tokenizer

SIZE = 10


def jpeg(seed, height=40, width=60):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def source(tmp_path):
    """Ten images: 3 is empty, 4 is missing, 6 equals 5 under another name, 8 repeats item 7."""
    for number in range(SIZE):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(5 if number == 6 else number))
    (tmp_path / "3.jpg").write_bytes(b"")
    (tmp_path / "4.jpg").unlink()
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 7, 9]
    items = [
        {"image": f"{n}.jpg", "caption": ["a red circle", "a red circle left of a blue square"]}
        for n in numbers
    ]
    (tmp_path / "a.json").write_text(json.dumps(items), "utf-8")
    return JsonPairs([tmp_path / "a.json"], tmp_path)


def plan(**changes):
    return Plan(**{"items": SIZE, "shard_size": 4, "vocab": "scenes", "origin": "here", **changes})


def read(out):
    return ArrayRecordPairs(sorted(out.glob("*.array_record")))


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_file_bytes_captions_and_names_are_kept(source, tmp_path):
    out = tmp_path / "out"
    pack(source, plan(), out, 1, bar=False)
    packed = read(out)
    kept = [0, 1, 2, 5, 6, 7, 8, 9]
    assert [packed.encoded(n) for n in range(len(packed))] == [source.encoded(n) for n in kept]


def test_the_manifest_says_what_is_there(source, tmp_path):
    out = tmp_path / "out"
    manifest = pack(source, plan(licence="CC0"), out, 2, bar=False)
    assert json.loads((out / "manifest.json").read_bytes()) == manifest
    assert manifest["items"] == 10 and manifest["records"] == 8 and manifest["bad"] == 2
    assert manifest["captions"] == 16
    assert manifest["words"] == {"3": 8, "8": 8}
    assert manifest["tokens"] == {"4": 8, "9": 8}  # [CLS] counts
    assert manifest["images"] == {"kept": 8}
    assert manifest["source"] == "here" and manifest["licence"] == "CC0"
    assert [entry["records"] for entry in manifest["shards"]] == [3, 3, 2]
    assert manifest["shards"][0]["file"] == "pairs-00000-of-00003.array_record"
    files = [out / entry["file"] for entry in manifest["shards"]]
    assert manifest["bytes"] == sum(file.stat().st_size for file in files)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [entry["sha256"] for entry in manifest["shards"]] == digests
    assert not (out / "packing").exists()


def test_bad_samples_and_duplicates_are_listed(source, tmp_path):
    out = tmp_path / "out"
    manifest = pack(source, plan(), out, 1, bar=False)
    bad = [json.loads(line) for line in (out / "bad_samples.jsonl").read_text().splitlines()]
    assert [Path(entry["name"]).name for entry in bad] == ["3.jpg", "4.jpg"]
    assert bad[0]["reason"] == "the file is empty (0 bytes)"
    (group,) = (json.loads(line) for line in (out / "duplicates.jsonl").read_text().splitlines())
    assert [Path(name).name for name in group["names"]] == ["5.jpg", "6.jpg"]
    assert manifest["images_under_several_names"] == 1
    assert manifest["same_item_again"] == 1


def test_the_number_of_threads_changes_nothing(source, tmp_path):
    for threads in (1, 3):
        pack(source, plan(shard_size=2), tmp_path / str(threads), threads, bar=False)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_a_shard_of_bad_items_alone_is_left_out(source, tmp_path):
    manifest = pack(source, plan(shard_size=1), tmp_path / "out", 1, bar=False)
    assert len(manifest["shards"]) == 8
    assert len(read(tmp_path / "out")) == 8


def test_large_images_are_made_smaller_by_their_short_side(source, tmp_path):
    manifest = pack(source, plan(resize=20, quality=90), tmp_path / "out", 1, bar=False)
    packed = read(tmp_path / "out")
    assert packed[0].image.shape == (20, 30, 3)
    small = Image.fromarray(source[0].image).resize((30, 20), Image.Resampling.BICUBIC)
    small.save(tmp_path / "small.jpg", quality=90)
    assert packed.encoded(0).data == (tmp_path / "small.jpg").read_bytes()
    assert manifest["images"] == {"resized": 8}
    kept = pack(source, plan(resize=40), tmp_path / "kept", 1, bar=False)
    assert kept["images"] == {"kept": 8}


class Drawn:
    """A source that has images in no file."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return Pair(f"drawn/{index}", decode(jpeg(index), ""), ("a dog",), index)


def test_drawn_images_are_stored_without_loss(tmp_path):
    manifest = pack(Drawn(), plan(items=3), tmp_path / "out", 1, bar=False)
    packed = read(tmp_path / "out")
    assert manifest["images"] == {"drawn": 3}
    assert all(np.array_equal(packed[n].image, Drawn()[n].image) for n in range(3))


def test_an_image_id_that_does_not_fit_is_a_bad_sample(tmp_path):
    class Far(Drawn):
        def __getitem__(self, index):
            pair = super().__getitem__(index)
            return Pair(pair.name, pair.image, pair.captions, 2**31 if index == 1 else index)

    assert pack(Far(), plan(items=3), tmp_path / "out", 1, bar=False)["bad"] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import Plan

class Killed(JsonPairs):
    def encoded(self, index):
        if index == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encoded(index)

root = Path(sys.argv[1])
source = Killed([root / "a.json"], root)
pack(source, Plan(10, shard_size=4, vocab="scenes", origin="here"), root / "out", 1, bar=False)
"""


class Counted:
    """Counts which items are read."""

    def __init__(self, source):
        self.source, self.seen = source, []

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        raise AssertionError("a source of files is not decoded first")

    def encoded(self, index):
        self.seen.append(index)
        return self.source.encoded(index)


def test_a_killed_packing_goes_on_where_it_was(source, tmp_path):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    assert (out / "pairs-00000-of-00003.array_record").exists()
    counted = Counted(source)
    pack(counted, plan(), out, 1, bar=False)
    assert counted.seen == [4, 5, 6, 7, 8, 9]  # the first shard is not packed again
    pack(source, plan(), tmp_path / "at_once", 1, bar=False)
    assert contents(out) == contents(tmp_path / "at_once")


def test_a_shard_that_changed_since_is_packed_again(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(packing, "complete", lambda out, plan: {})
    pack(source, plan(), out, 1, bar=False)
    (out / "pairs-00001-of-00003.array_record").write_bytes(b"short")
    counted = Counted(source)
    pack(counted, plan(), out, 1, bar=False)
    assert counted.seen == [4, 5, 6, 7]


@pytest.mark.parametrize("number", [1, 3], ids=["another image", "one that was unusable"])
def test_a_shard_whose_images_changed_is_packed_again(source, tmp_path, number):
    """Else shards of old and of new images would stand side by side."""
    out, listed = tmp_path / "out", plan(given={"source": "json"})
    (out / shard.WORKING).mkdir(parents=True)
    tokenizer = Tokenizer(listed.vocab, 2)
    for place in range(2):
        shard.pack_shard(source, listed, place, out, tokenizer)
    assert packing.left_to_do(out, listed) == [2]
    (tmp_path / f"{number}.jpg").write_bytes(jpeg(99))
    assert packing.left_to_do(out, listed) == [0, 2]


def test_a_complete_directory_is_left_alone(source, tmp_path):
    out = tmp_path / "out"
    first = pack(source, plan(), out, 1, bar=False)
    counted = Counted(source)
    assert pack(counted, plan(), out, 1, bar=False) == first
    assert counted.seen == []


@pytest.mark.parametrize("complete", [True, False])
def test_other_options_in_the_same_directory_are_refused(source, tmp_path, monkeypatch, complete):
    out = tmp_path / "out"
    if not complete:
        monkeypatch.setattr(packing, "complete", lambda out, plan: {})
    pack(source, plan(given={"files": {"a.json": "1"}}), out, 1, bar=False)
    before = contents(out) if complete else None
    with pytest.raises(PackingError) as error:
        pack(source, plan(given={"files": {"a.json": "2"}}, resize=9), out, 1, bar=False)
    assert "resize: 0 before, 9 now" in str(error.value)
    assert "given.files.a.json: '1' before, '2' now" in str(error.value)
    assert before is None or contents(out) == before


def test_shards_of_unknown_origin_are_not_overwritten(source, tmp_path):
    (tmp_path / "other.array_record").write_bytes(b"mine")
    with pytest.raises(PackingError, match="shards of unknown origin"):
        pack(source, plan(), tmp_path, 1, bar=False)
    assert (tmp_path / "other.array_record").read_bytes() == b"mine"


def test_two_packings_into_one_directory_are_refused(source, tmp_path):
    out = tmp_path / "out"
    with (
        packing.opened(out, plan()),
        pytest.raises(PackingError, match="another process is packing into it"),
    ):
        pack(source, plan(), out, 1, bar=False)


def test_an_output_that_cannot_be_made_is_said_at_once(source, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PackingError, match="cannot be written: Not a directory"):
        pack(source, plan(), tmp_path / "file" / "out", 1, bar=False)


class FullDisk:
    """A writer that finds no room after some records."""

    def __init__(self, *_):
        self.written = 0

    def write(self, record):
        self.written += 1
        if self.written == 2:
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 7")

    def close(self):
        raise RuntimeError("write() failed: No space left on device; writing x; at byte 7")


def test_a_full_disk_leaves_finished_shards_and_the_same_command_goes_on(
    source, tmp_path, monkeypatch
):
    out, writer, calls = tmp_path / "out", shard.ArrayRecordWriter, []

    def write(*arguments):
        calls.append(arguments)
        return (FullDisk if len(calls) == 2 else writer)(*arguments)

    monkeypatch.setattr(shard, "ArrayRecordWriter", write)
    with pytest.raises(PackingError, match="No space left on device") as error:
        pack(source, plan(), out, 1, bar=False)
    assert "pairs-00001-of-00003.array_record: cannot be written" in str(error.value)
    assert "Finished shards are kept" in str(error.value)
    # The shard after it may have been started, and then is finished.
    written = {path.name for path in out.glob("pairs*")}
    last = "pairs-00002-of-00003.array_record"
    assert written - {last} == {"pairs-00000-of-00003.array_record"}
    counted = Counted(source)
    assert pack(counted, plan(), out, 1, bar=False)["records"] == 8
    assert counted.seen == ([4, 5, 6, 7] if last in written else [4, 5, 6, 7, 8, 9])


def test_a_limit_of_the_system_on_file_size_is_such_an_error(source, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    code = limited + KILLED.replace("index == 6", "index == 99")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "PackingError" in done.stderr and "File too large" in done.stderr
    assert not list((tmp_path / "out").glob("*.array_record*"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"items": 0}, "nothing to pack"),
        ({"shard_size": 0}, "--shard_size=0: must be greater than 0"),
        ({"resize": -1}, "--resize=-1: must not be negative"),
        ({"quality": 101}, "--quality=101: must lie between 1 and 100"),
        ({"name": "a/b"}, "--name='a/b'"),
        ({"name": "a*"}, "--name='a\\*'"),
    ],
)
def test_options_that_make_no_sense(wrong, message):
    with pytest.raises(PackingError, match=message):
        plan(**wrong)


def test_an_error_that_is_no_bad_sample_stops_packing(source, tmp_path):
    class Broken(Counted):
        def encoded(self, index):
            if index == 5:
                raise RuntimeError("a bug")
            return super().encoded(index)

    with pytest.raises(RuntimeError, match="a bug"):
        pack(Broken(source), plan(), tmp_path / "out", 2, bar=False)
    assert not list((tmp_path / "out").glob("*.part"))
