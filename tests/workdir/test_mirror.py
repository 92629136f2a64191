"""Small files of a run in a bucket: what is written here is there, and comes back."""

import contextlib
import itertools
import random

import pytest

from albef_jax.errors import SaveError
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError
from albef_jax.workdir.appended import AppendedFile, joined
from albef_jax.workdir.mirror import Mirror


@pytest.fixture
def folder(bucket):
    return BucketFolder(bucket.address, patience=5)


def tree(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def lines(numbers):
    return "".join(f'{{"step": {number}}}\n' for number in numbers).encode()


def test_files_come_back_as_they_were(folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("config.json", "evaluation/dev/queries.csv", "metrics.jsonl", "report/index.html"):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_bytes(lines([len(name)]))
    for name in ("checkpoints/2/files.json", ".draft.new", "lock", "wandb/log"):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_text("not copied")
    with Mirror(first, folder, seconds=60):
        pass
    second.mkdir()
    Mirror(second, folder, seconds=60).fetch()
    assert tree(second) == {
        name: content for name, content in tree(first).items() if content != b"not copied"
    }


def test_only_what_changed_is_written_and_what_is_gone_is_removed(folder, bucket, tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    mirror = Mirror(tmp_path, folder, seconds=60)
    mirror.flush()
    (tmp_path / "a").rename(tmp_path / "a.before")
    (tmp_path / "b").write_text("other")
    bucket.proxy.forget()
    mirror.flush()
    assert not any(request.endswith(("/c", "%2Fc")) for request in bucket.proxy.requests)
    assert bucket.names() == ["a.before", "b", "c"]
    assert folder.read("b") == b"other"
    bucket.proxy.forget()
    mirror.flush()
    assert bucket.proxy.requests == []


def test_a_run_that_lost_its_lock_writes_nothing(folder, bucket, tmp_path):
    def lost():
        raise StorageError("taken over")

    (tmp_path / "a").write_text("a")
    mirror = Mirror(tmp_path, folder, seconds=60, may_write=lost)
    with pytest.raises(SaveError, match="not in the bucket: taken over"), mirror:
        pass
    assert bucket.names() == []


def test_others_write_what_has_their_number_and_the_first_reads_it(folder, tmp_path):
    own, other = tmp_path / "0", tmp_path / "1"
    for directory in (own, other):
        directory.mkdir()
        (directory / "config.json").write_text(directory.name)
    (other / "bad_samples-1.jsonl").write_text("{}\n")
    first = Mirror(own, folder, seconds=60)
    first.flush()
    Mirror(other, folder, seconds=60, process=1).flush()
    first.collect()
    assert folder.read("config.json") == b"0"
    assert (own / "bad_samples-1.jsonl").read_text() == "{}\n"
    (own / "bad_samples-1.jsonl").unlink()  # merged
    first.flush()
    assert folder.entry("bad_samples-1.jsonl") is None


def test_what_was_appended_is_one_more_part(folder, tmp_path):
    file = tmp_path / "metrics.jsonl"
    appended = AppendedFile(file, folder)
    for number in range(3):
        with file.open("ab") as stream:
            stream.write(lines([number]) + b'{"ste')  # and half a line
        appended.upload()
        file.write_bytes(lines(range(number + 1)))
    assert len(folder.entries()) == 3
    assert joined(folder)[0] == lines(range(3))


def test_a_file_that_was_cut_and_goes_on_is_joined_without_what_was_cut(folder, tmp_path):
    file = tmp_path / "metrics.jsonl"
    appended = AppendedFile(file, folder)
    for end in (4, 8, 12):
        file.write_bytes(lines(range(end)))
        appended.upload()
    file.write_bytes(lines([0, 1, 2, 3, 4, 5, 50, 60, 70, 80, 90, 100, 110]))
    appended.upload()
    assert joined(folder)[0] == file.read_bytes()
    again = AppendedFile(tmp_path / "again", folder)
    again.fetch()
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_many_parts_become_one(folder, tmp_path):
    file = tmp_path / "metrics.jsonl"
    appended = AppendedFile(file, folder)
    for end in range(1, 70):
        file.write_bytes(lines(range(end)))
        appended.upload()
    assert len(folder.entries()) < 10
    assert joined(folder)[0] == lines(range(69))


class Broken(Exception):
    """The process was killed here."""


class Fragile:
    """A folder in memory that dies after so many changes, and keeps what was written."""

    def __init__(self):
        self.objects, self.left = {}, None

    def _change(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Broken

    def entries(self):
        return dict.fromkeys(self.objects)

    def read(self, name):
        return self.objects[name]

    def write(self, name, content):
        self._change()
        self.objects[name] = content

    def delete(self, names):
        for name in sorted(names, key=lambda name: random.Random(name).random()):
            self._change()
            del self.objects[name]


def test_a_kill_between_any_two_changes_loses_no_line_and_brings_none_back(tmp_path):
    """After it, the parts hold what was uploaded before, or what was to be uploaded."""
    file = tmp_path / "metrics.jsonl"
    for changes, cut in itertools.product(range(12), (2, 4, 5, 8)):
        folder = Fragile()
        appended = AppendedFile(file, folder)
        for end in (4, 6, 8):
            file.write_bytes(lines(range(end)))
            appended.upload()
        folder.left = changes
        shorter = lines(range(cut))
        file.write_bytes(shorter)
        with contextlib.suppress(Broken):
            appended.upload()
        found = joined(folder)[0]
        # Lines beyond the checkpoint are dropped at the next start: those before it count.
        assert found.startswith(shorter)
        assert lines(range(8)).startswith(found)


def test_a_local_file_that_vanishes_is_no_error(folder, tmp_path):
    (tmp_path / "a").write_text("a")
    mirror = Mirror(tmp_path, folder, seconds=60)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    mirror.flush()
    assert list(folder.entries()) == ["a"]
