import json
import pickle
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from albef_jax.config.file_patterns import expand
from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import Plan
from albef_jax.data.records import EncodedPair, EncodedPairs
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.shards import array_record
from albef_jax.data.shards.array_record import ArrayRecordPairs
from albef_jax.data.shards.packed_record import encode_pair
from albef_jax.errors import BadSample

SCENES = ScenesSource("train", 11, 32)


def packed(folder, size=11, shard_size=4):
    source = ScenesSource("train", size, 32)
    pack(source, Plan(size, shard_size=shard_size, vocab="scenes"), folder, 1, bar=False)
    return sorted(folder.glob("*.array_record"))


def shard(path, *records):
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("shards"))


def test_what_was_packed_is_read(files):
    pairs = ArrayRecordPairs(files)
    assert len(files) == 3 and len(pairs) == 11
    for number in (0, 3, 4, 10, -1):
        found, expected = pairs[number], SCENES[range(11)[number]]
        assert np.array_equal(found.image, expected.image)
        assert found.captions == expected.captions
        assert (found.name, found.image_id) == (expected.name, expected.image_id)
    with pytest.raises(IndexError):
        pairs[11]


def test_shards_are_read_in_the_order_that_they_are_given(files):
    pairs = ArrayRecordPairs([files[2], str(files[0])])
    assert [pair.image_id for pair in pairs] == [8, 9, 10, 0, 1, 2, 3]


def test_bytes_can_be_had_without_decoding(files):
    pairs = ArrayRecordPairs(files)
    assert isinstance(pairs, EncodedPairs)
    assert pairs.encoded(5).data.startswith(b"\x89PNG")


def test_many_threads_read_the_same(files):
    pairs = ArrayRecordPairs(files)
    wanted = list(np.random.default_rng(0).integers(11, size=200))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: pairs.encoded(number).image_id, wanted))
    assert found == wanted


def test_it_can_be_sent_to_another_process(files):
    pairs = ArrayRecordPairs(files)
    assert pairs[7].image_id == 7
    assert pickle.loads(pickle.dumps(pairs))[7].name == pairs[7].name


def test_a_damaged_record_is_a_bad_sample_and_its_neighbours_are_read(tmp_path):
    files = packed(tmp_path)
    data = bytearray(files[1].read_bytes())
    place = data.index(b"scenes/train/6") + 40
    data[place] ^= 255
    files[1].write_bytes(data)
    pairs = ArrayRecordPairs(files)
    with pytest.raises(BadSample, match=r"the shard is damaged here: .*hash mismatch$") as caught:
        pairs[6]
    assert caught.value.name == f"{files[1]}[2]"
    assert [pairs[number].image_id for number in (5, 7)] == [5, 7]


def test_a_foreign_record_and_an_undecodable_image_are_bad_samples(tmp_path):
    broken = encode_pair(EncodedPair("a.jpg", b"no image", ("a dog",), 0))
    pairs = ArrayRecordPairs([shard(tmp_path / "a.array_record", b"\x07", broken)])
    with pytest.raises(BadSample, match="not a record of a packed pair") as caught:
        pairs[0]
    assert caught.value.name == f"{tmp_path / 'a.array_record'}[0]"
    with pytest.raises(BadSample, match="not an image") as caught:
        pairs[1]
    assert caught.value.name == "a.jpg"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a whole ArrayRecord file"),
        (b"no shard " * 20_000, "not a whole ArrayRecord file"),
        (None, "no such file"),
    ],
    ids=["empty", "foreign", "missing"],
)
def test_an_unusable_shard_is_named_when_it_is_opened(tmp_path, data, reason):
    path = tmp_path / "a.array_record"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path}: {reason}"):
        ArrayRecordPairs([path])


def test_all_unusable_shards_come_in_one_message(tmp_path):
    files = packed(tmp_path)
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:-70_000])
    with pytest.raises(ValueError, match="cannot be used") as error:
        ArrayRecordPairs(files)
    assert all(str(file) in str(error.value) for file in files[:2])
    assert str(files[2]) not in str(error.value)
    assert "copy it again" in str(error.value)


def test_a_shard_without_records(tmp_path):
    with pytest.raises(ValueError, match="holds no records"):
        ArrayRecordPairs([shard(tmp_path / "a.array_record")])


def test_no_shards():
    with pytest.raises(ValueError, match=r"no shards given \(data\.eval_files\)"):
        ArrayRecordPairs([], "data.eval_files")


def test_a_shard_of_another_length_than_the_manifest_says(tmp_path):
    files = packed(tmp_path)
    shard(files[0], encode_pair(EncodedPair("a.jpg", b"", ("a dog",), 0)))
    with pytest.raises(ValueError, match=r"1 records, the manifest\.json beside it says 4"):
        ArrayRecordPairs(files)


def test_shards_packed_apart_must_not_share_a_directory(tmp_path):
    files = packed(tmp_path)
    moved = files[0].rename(tmp_path / "other.array_record")
    with pytest.raises(ValueError, match="keep what was packed apart in directories of its own"):
        ArrayRecordPairs([moved])


def test_a_damaged_manifest_is_named(tmp_path):
    files = packed(tmp_path)
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest"):
        ArrayRecordPairs(files)


def test_image_ids_of_two_directories_are_kept_apart(tmp_path, files):
    others = packed(tmp_path, size=3)
    pairs = ArrayRecordPairs([*files, *others])
    assert [pair.image_id for pair in pairs] == list(range(14))


def test_two_directories_need_their_manifests(tmp_path, files):
    others = packed(tmp_path, size=3)
    (tmp_path / "manifest.json").unlink()
    assert len(ArrayRecordPairs(others)) == 3
    with pytest.raises(ValueError, match=r"no manifest\.json, so image ids cannot be kept apart"):
        ArrayRecordPairs([*files, *others])


def test_image_ids_that_no_longer_fit_are_refused(tmp_path, files):
    others = packed(tmp_path, size=3)
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    manifest["image_id_limit"] = 2**31
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ValueError, match="2147483648 is the limit"):
        ArrayRecordPairs([*files, *others])


def test_the_limit_of_open_files_is_raised_for_many_shards(monkeypatch):
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    array_record._allow_open_files([Path("a")] * 100)
    assert limits == [(1024, 4096)]
    array_record._allow_open_files([Path("a")] * 3000)
    assert limits[-1] == (3256, 4096)
    with pytest.raises(ValueError, match="5000 shards, but a process may open 4096 files"):
        array_record._allow_open_files([Path("a")] * 5000)


@pytest.mark.parametrize("name", ["v[1]", "a@2", "x*", "{a,b}", "a?b", "two words", "50%", "a\\b"])
def test_a_folder_may_be_named_like_a_pattern(files, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(files[0].parent, folder)
    pairs = ArrayRecordPairs(expand(folder, "*.array_record"))
    assert len(pairs) == 11 and pairs[4].name == SCENES[4].name
