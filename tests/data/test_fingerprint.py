import os

import pytest

from albef_jax.data import fingerprint
from albef_jax.data.fingerprint import different, stamps

LARGE = 64 << 20


def large(path, **written):
    """A sparse file just beyond what is digested whole; `written` bytes at `atN`."""
    with path.open("wb") as file:
        file.truncate(LARGE + 1000)
        for place, data in written.items():
            file.seek(int(place.removeprefix("at")))
            file.write(data)
    return path


@pytest.mark.parametrize("name", ["a.json", "b.JSON", "c.jsonl", "d.tar", "e"])
def test_content_counts_whatever_the_suffix(tmp_path, name):
    file = tmp_path / name
    found = []
    for text in ("[1]", "[2]", "[1]"):
        file.write_text(text, "utf-8")
        os.utime(file, ns=(5, 5))
        found.append(stamps([], [file]))
    assert found[0] == found[2]
    assert different(found[0], found[1]) == [f"{file}: has other content than before"]


def test_a_large_shard_is_digested_where_its_time_changed(tmp_path, monkeypatch):
    shard = large(tmp_path / "a.tar")
    read = []
    monkeypatch.setattr(
        fingerprint, "_blocks", lambda *a, real=fingerprint._blocks: read.append(1) or real(*a)
    )
    before = stamps([], [shard])
    assert stamps([], [shard], before) == before and len(read) == 1
    os.utime(shard, ns=(7, 7))
    copied = stamps([], [shard], before)
    assert len(read) == 2 and copied != before and not different(before, copied)
    large(shard, at0=b"other")
    assert different(before, stamps([], [shard], before))
    large(shard, **{f"at{LARGE + 999}": b"x"})
    assert different(before, stamps([], [shard], before))


def test_a_large_list_is_digested_whole(tmp_path):
    before = stamps([large(tmp_path / "a.json")])
    assert different(before, stamps([large(tmp_path / "a.json", at777777=b"x")]))


def test_files_that_come_and_go_and_grow(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("1")
    before = stamps([a, b])
    b.write_text("12")
    (tmp_path / "c").write_text("")
    now = stamps([b, tmp_path / "c"])
    assert different(before, now) == [
        f"{a}: is no longer named",
        f"{b}: 1 bytes before, 2 now",
        f"{tmp_path / 'c'}: is new",
    ]
    many = {str(number): {"bytes": 1} for number in range(9)}
    assert different({}, many)[-1] == "... and 4 more files"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read: No such file"):
        stamps([tmp_path / "gone.json"])


def test_a_folder_that_was_moved_is_the_same_data(tmp_path):
    """As the package with its vocabulary, in another environment."""
    for folder in ("old", "new"):
        for part in ("a", "b"):
            (tmp_path / folder / part).mkdir(parents=True)
            (tmp_path / folder / part / "words.txt").write_text(f"of {part}")

    def of(folder):
        return stamps([tmp_path / folder / part / "words.txt" for part in ("a", "b")])

    before = of("old")
    assert different(before, of("new")) == []
    (tmp_path / "new" / "b" / "words.txt").write_text("of c")
    found = different(before, of("new"))
    assert len(found) == 2 and all("b/words.txt" in line for line in found)
    (tmp_path / "new" / "a" / "words.txt").rename(tmp_path / "new" / "a" / "renamed.txt")
    assert len(different(before, stamps([tmp_path / "new" / "a" / "renamed.txt"]))) == 3
