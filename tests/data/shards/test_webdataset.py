"""Tar shards as img2dataset writes them: read at random, indexed once, refused with a remedy."""

import gzip
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from albef_jax.data.records import EncodedPairs
from albef_jax.data.shards import tar_index
from albef_jax.data.shards.tar_index import members, open_index
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.errors import BadSample
from tests.helpers.tar_files import image, sample, shard


@pytest.fixture
def shards(tmp_path):
    """Out of order, seven samples in two shards."""
    second = shard(tmp_path / "00001.tar", *(sample(number) for number in (40, 50, 60)))
    first = shard(tmp_path / "00000.tar", *(sample(number) for number in (0, 10, 20, 30)))
    return [second, first]


def test_samples_of_all_shards_sorted_by_name(shards):
    pairs = TarPairs(shards)
    assert isinstance(pairs, EncodedPairs)
    assert len(pairs) == 7
    found = [pairs[index] for index in range(7)]
    assert [pair.captions for pair in found] == [(f"caption {n}",) for n in range(0, 70, 10)]
    assert [pair.image_id for pair in found] == list(range(7))
    for number, pair in enumerate(found):
        assert pair.image.shape == (16, 24, 3)
        assert np.abs(pair.image.astype(int) - number * 10).max() <= 1
    assert found[4].name == f"{shards[0]}/000000040"
    assert pairs[-1].captions == ("caption 60",)
    with pytest.raises(IndexError):
        pairs[7]


def test_captions_from_a_field_of_the_json(shards, tmp_path):
    assert TarPairs(shards, "caption")[5].captions == ("json caption 50",)
    told = json.dumps({"captions": ["one", " ", "twö"]})
    path = shard(tmp_path / "more" / "0.tar", sample(1, json=told, txt=None))
    assert TarPairs([path], "captions")[0].captions == ("one", "twö")


def test_suffixes_in_any_case_and_keys_with_folders(tmp_path):
    files = {
        "a/1.b.JPG": b"not the image of the sample a/1, which has a plain .jpg",
        "a/1.JPG": image(7),
        "a/1.Txt": "one",
        "b/1.png": image(9, "PNG"),
        "b/1.txt": "two",
        "b/._1.jpg": b"a key of nothing",
        "readme.md": "neither",
    }
    path = shard(tmp_path / "0.tar", files)
    pairs = TarPairs([path])
    assert [pair.captions for pair in (pairs[0], pairs[1])] == [("one",), ("two",)]
    assert [pair.name for pair in (pairs[0], pairs[1])] == [f"{path}/a/1", f"{path}/b/1"]
    assert len(pairs) == 2
    assert [(stray.name, stray.reason) for stray in pairs.strays()] == [
        (f"{path}/b/._1.jpg", "a hidden file"),
        (f"{path}/readme.md", "neither an image nor .txt nor .json (.md)"),
    ]
    assert pairs.notes == (
        f"2 files in the shards belong to no sample, as {path}/b/._1.jpg: a hidden file",
    )


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar(tmp_path, form):
    folder = "f" * 90 if form == tarfile.USTAR_FORMAT else "länge" * 60
    path = shard(
        tmp_path / "0.tar", {f"{folder}/7.jpg": image(3), f"{folder}/7.txt": "x"}, form=form
    )
    assert TarPairs([path])[0].name == f"{path}/{folder}/7"


def test_the_index_is_kept_beside_the_shard(shards, monkeypatch):
    before = [TarPairs(shards)[index].captions for index in range(7)]
    monkeypatch.setattr(tar_index, "members", None)  # a second walk would fail
    again = TarPairs(shards)
    assert [again[index].captions for index in range(7)] == before
    assert not list(shards[0].parent.glob("*.partial"))


def test_a_changed_shard_is_read_anew(shards):
    TarPairs(shards)
    shard(shards[0], sample(99))
    pairs = TarPairs(shards)
    assert len(pairs) == 5
    assert pairs[4].captions == ("caption 99",)


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04", b"junk"])
def test_a_damaged_index_is_made_anew(shards, junk):
    TarPairs(shards)
    for kept in shards[0].parent.glob(".*.npz"):
        kept.write_bytes(junk)
    assert TarPairs(shards)[0].captions == ("caption 0",)


def test_where_nothing_can_be_written_beside_it_the_cache_is_used(shards, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for path in shards:
        path.with_name(f".{path.name}.index.npz").mkdir()
    assert len(TarPairs(shards)) == 7
    assert len(list(cache.rglob("*.npz"))) == 2
    assert [open_index(path)[1] for path in shards] == [True, True]


def test_without_any_place_to_write_it_works_all_the_same(shards, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for path in shards:
        path.with_name(f".{path.name}.index.npz").mkdir()
    assert len(TarPairs(shards)) == 7


def test_it_can_be_sent_to_another_process(shards):
    source = TarPairs(shards)
    sent = pickle.loads(pickle.dumps(source))
    assert [pair.name for pair in sent] == [pair.name for pair in source]


def test_threads_read_the_same(shards):
    pairs = TarPairs(shards)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: pairs[index].captions, [*range(7)] * 30))
    assert found == [(f"caption {number}",) for number in range(0, 70, 10)] * 30


@pytest.mark.parametrize(
    ("files", "field", "reason"),
    [
        ({"jpg": None}, "", "no image of this name"),
        ({"txt": None}, "", r"no \.txt of this name"),
        ({"txt": " \n"}, "", "caption is empty"),
        ({"txt": b"caf\xe9"}, "", r"\.txt is not UTF-8"),
        ({"jpg": b""}, "", "0 bytes"),
        ({"jpg": image(1)[:-2]}, "", "truncated"),
        ({"json": None}, "caption", r"no \.json of this name"),
        ({"json": "{"}, "caption", r"\.json is not JSON"),
        ({"json": "[1]"}, "caption", r"\.json has no 'caption'"),
        ({"json": '{"text": "x"}'}, "caption", r"\.json has no 'caption'"),
        ({"json": '{"caption": null}'}, "caption", "neither a text nor"),
        ({"json": '{"caption": []}'}, "caption", "caption is empty"),
        ({"json": b'{"caption": "\xff"}'}, "caption", r"\.json is not UTF-8"),
    ],
)
def test_an_unusable_sample_is_named_with_its_shard(tmp_path, files, field, reason):
    path = shard(tmp_path / "0.tar", sample(1), sample(2, **files), sample(3))
    pairs = TarPairs([path], field)
    assert len(pairs) == 3
    with pytest.raises(BadSample, match=reason) as bad:
        pairs[1]
    assert bad.value.name == f"{path}/000000002"
    assert "3" in pairs[2].captions[0]


def test_a_shard_that_changes_during_the_run(shards):
    pairs = TarPairs(shards)
    shard(shards[1], sample(99))
    with pytest.raises(BadSample, match="changed during the run"):
        pairs[0]
    shards[1].unlink()
    with pytest.raises(BadSample, match="cannot be read: No such file"):
        pairs[0]
    assert pairs[4].captions == ("caption 40",)


def cut(data, size):
    return data[:size]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", r"empty \(0 bytes\)"),
        (lambda data: gzip.compress(data), r"compressed \(gzip\).*unpack it to a plain \.tar"),
        (lambda data: b"x" * 5000, "not a tar file"),
        (lambda data: cut(data, 700), "cut short, or still being written"),
        (lambda data: cut(data, 1024 + 300), "cut short, or still being written"),
        (lambda data: data.rstrip(b"\0"), "cut short, or still being written"),
        (lambda data: data[:2560] + b"\xff" * 512 + data[3072:], "damaged at byte"),
    ],
    ids=["empty", "gzip", "other", "cut", "cut header", "no end mark", "damaged header"],
)
def test_an_unusable_shard_is_refused_with_a_remedy(tmp_path, spoil, message):
    good = shard(tmp_path / "0.tar", sample(1))
    bad = shard(tmp_path / "1.tar", sample(2), sample(3), form=tarfile.USTAR_FORMAT)
    bad.write_bytes(spoil(bad.read_bytes()))
    with pytest.raises(ValueError, match=rf"1\.tar: .*{message}"):
        TarPairs([good, bad])


def test_all_unusable_shards_come_in_one_message(tmp_path):
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(b"x"))
    texts = shard(tmp_path / "b.tar", {"1.txt": "only"})
    with pytest.raises(ValueError) as refused:
        TarPairs([packed, texts, tmp_path / "c.tar"], setting="data.eval_files")
    message = str(refused.value)
    assert "the shards of data.eval_files" in message
    assert "a.tar.gz: compressed" in message
    assert "b.tar: has no images; remove it from data.eval_files" in message
    assert "c.tar: cannot be read: No such file" in message


def test_an_empty_shard_is_noted(shards, tmp_path):
    empty = shard(tmp_path / "00002.tar")
    pairs = TarPairs([*shards, empty])
    assert len(pairs) == 7
    assert pairs.notes == (f"1 shards hold no samples, as {empty}",)
    assert TarPairs(shards).notes == ()
    with pytest.raises(ValueError, match="no samples"):
        TarPairs([empty])
    with pytest.raises(ValueError, match=r"no shards given \(data\.train_files\)"):
        TarPairs([])


def test_captions_that_are_elsewhere_are_looked_for(tmp_path, shards):
    path = shard(tmp_path / "x.tar", sample(1, txt=None))
    with pytest.raises(
        ValueError, match=r"no sample has a \.txt; name in data\.caption_field .*caption"
    ):
        TarPairs([path])
    with pytest.raises(
        ValueError, match=r"caption_field=captoin.*did you mean 'caption'.*key, url"
    ):
        TarPairs(shards, "captoin")
    path = shard(tmp_path / "y.tar", sample(1, json=None))
    with pytest.raises(
        ValueError, match=r"no sample has a \.json; leave data\.caption_field empty"
    ):
        TarPairs([path], "caption")
    path = shard(tmp_path / "z.tar", sample(1, json=None, txt=None))
    with pytest.raises(ValueError, match="write the shards with captions"):
        TarPairs([path])


def test_the_later_of_two_files_with_one_name_counts(tmp_path):
    path = shard(tmp_path / "0.tar", sample(1), {"000000001.txt": "newer"})
    assert [member.name for member in members(path)].count("000000001.txt") == 2
    assert TarPairs([path])[0].captions == ("newer",)
    (stray,) = TarPairs([path]).strays()
    assert stray.reason == "replaced by a later file of the same name"


def test_two_whole_samples_of_one_name_are_both_there(tmp_path):
    path = shard(tmp_path / "0.tar", sample(1), sample(2), sample(1, txt="another"))
    pairs = TarPairs([path])
    assert [pair.captions for pair in pairs] == [("caption 1",), ("caption 2",), ("another",)]
    assert pairs.notes == (
        "1 samples have the name of an earlier one in their shard; all are kept",
    )


def test_links_stand_for_what_they_lead_to(tmp_path):
    """As `tar` writes a file that is in two folders."""
    path = shard(tmp_path / "0.tar", {"a/1.jpg": image(50), "a/1.txt": "one"})
    with tarfile.open(path, "a") as tar:
        for name, kind, target in (
            ("b/2.jpg", tarfile.LNKTYPE, "a/1.jpg"),
            ("b/2.txt", tarfile.SYMTYPE, "../a/1.txt"),
            ("b/3.jpg", tarfile.LNKTYPE, "a/9.jpg"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    pairs = TarPairs([path])
    assert [pair.captions for pair in pairs] == [("one",), ("one",)]
    assert pairs[1].image[0, 0, 0] == pairs[0].image[0, 0, 0]
    assert [stray.reason for stray in pairs.strays()] == ["a link to a/9.jpg, which is not there"]


def test_avif_is_an_image(tmp_path):
    path = shard(tmp_path / "0.tar", {"1.avif": image(50, "AVIF"), "1.txt": "one"})
    assert TarPairs([path])[0].image.shape == (16, 24, 3)


def test_an_image_that_pillow_does_not_read_is_said_to_be_one(tmp_path):
    path = shard(tmp_path / "0.tar", sample(1), {"2.heic": b"heic", "2.txt": "two"})
    with pytest.raises(BadSample, match="not an image in a format that Pillow reads"):
        TarPairs([path])[1]


def test_a_shard_without_samples_says_what_it_has(tmp_path):
    path = shard(tmp_path / "0.tar", {"1.psd": b"x", "1.caption": "one"})
    with pytest.raises(ValueError, match=r"no samples .* but 2 files .* 1\.psd: neither an image"):
        TarPairs([path])
