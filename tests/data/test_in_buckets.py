"""Data in a bucket: the samples of the disk, bit for bit, and errors that name what is wrong."""

import gzip
import json
import pickle

import numpy as np
import pytest

from albef_jax.config.defaults import default
from albef_jax.data import build, held_out
from albef_jax.data.annotations.labels import folder_labels
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.annotations.questions import read_answer_list
from albef_jax.data.fingerprint import different, stamps
from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import Plan
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.shards.array_record import ArrayRecordPairs
from albef_jax.data.shards.tar_paths import in_shard, read_place
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.data.tokenizer import VOCAB_DIR, Tokenizer
from albef_jax.data.training_files import training
from albef_jax.errors import ConfigError
from albef_jax.storage.paths import BucketPath, path_of
from albef_jax.validate import validate
from tests.helpers.in_buckets import equal, uploaded
from tests.helpers.tar_files import image, sample, shard
from tests.helpers.worker_batches import batches


@pytest.fixture
def images(tmp_path):
    """Four images in folders of classes, and lists of them."""
    folder = tmp_path / "up"
    for number in range(4):
        file = folder / "images" / ("cats", "dogs")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image(number))
    items = [
        {"image": f"{('cats', 'dogs')[number % 2]}/{number}.jpg", "caption": f"caption {number}"}
        for number in range(4)
    ]
    (folder / "a.json").write_text(json.dumps(items))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, items)).encode()))
    return folder


def test_tar_shards(bucket, cache_dir, tars):
    on_disk = TarPairs(sorted(tars.glob("*.tar")))
    remote = uploaded(tars, bucket.address)
    found = TarPairs([path for path in remote if path.suffix == ".tar"])
    equal([found[n] for n in range(6)], [on_disk[n] for n in range(6)])
    assert found[5].name == f"{bucket.address}/00001.tar/000000005"
    bucket.proxy.forget()
    again = pickle.loads(pickle.dumps(TarPairs(found.paths)))
    equal([again[n] for n in range(6)], [on_disk[n] for n in range(6)])
    assert not bucket.proxy.requests  # neither the index nor samples are read again
    place = in_shard(path_of(found[5].name))
    assert read_place(place)[1] == b"caption 5"


def test_array_record_shards(bucket, cache_dir, tmp_path):
    scenes = ScenesSource("train", 6, 32)
    pack(scenes, Plan(6, shard_size=4, vocab="scenes"), tmp_path / "up", 1, bar=False)
    remote = uploaded(tmp_path / "up", bucket.address)
    shards = [path for path in remote if path.suffix == ".array_record"]
    found = ArrayRecordPairs(shards)
    equal([found[n] for n in range(6)], [scenes[n] for n in range(6)])
    data = bytearray(shards[0].read_bytes())
    data[-1] ^= 255
    shards[0].write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"00000-of-00002\S+: not the SHA-256 that manifest.json"):
        ArrayRecordPairs(shards)
    shards[1].unlink()
    with pytest.raises(ValueError, match=r"00001-of-00002\S+: no such file"):
        ArrayRecordPairs(shards)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz"])
def test_lists_and_images(bucket, cache_dir, images, name):
    uploaded(images, bucket.address)
    on_disk = JsonPairs([images / name], images / "images")
    found = JsonPairs([f"{bucket.address}/{name}"], f"{bucket.address}/images")
    equal([found[n] for n in range(4)], [on_disk[n] for n in range(4)])
    assert found[1].name == f"{bucket.address}/images/dogs/1.jpg"
    assert list(found.image_paths())[1] == found[1].name


def test_a_list_on_disk_may_name_images_in_a_bucket(bucket, cache_dir, images, tmp_path):
    uploaded(images, bucket.address)
    items = [{"image": f"{bucket.address}/images/cats/0.jpg", "caption": "a"}]
    (tmp_path / "b.json").write_text(json.dumps(items))
    found = JsonPairs([tmp_path / "b.json"], tmp_path)
    assert found[0].name == items[0]["image"] and found[0].image.shape == (16, 24, 3)
    assert list(found.image_paths()) == [items[0]["image"]]


def test_folders_of_classes(bucket, cache_dir, images):
    uploaded(images / "images", bucket.address)
    found = folder_labels(BucketPath(bucket.address))
    assert found.classes == ("cats", "dogs")
    assert [(found[n].name.removeprefix(bucket.address), found[n].label) for n in range(4)] == [
        ("/cats/0.jpg", 0),
        ("/cats/2.jpg", 0),
        ("/dogs/1.jpg", 1),
        ("/dogs/3.jpg", 1),
    ]


def test_vocabularies_and_answers(bucket, cache_dir):
    folder = BucketPath(bucket.address)
    (folder / "v.txt").write_bytes((VOCAB_DIR / "scenes.txt").read_bytes())
    (folder / "answers.txt").write_bytes(b"yes\r\nno\r\n")
    expected = Tokenizer("scenes", 8).encode(["a red ball"])
    found = Tokenizer(f"{bucket.address}/v.txt", 8).encode(["a red ball"])
    assert all(map(np.array_equal, found, expected))
    assert read_answer_list(f"{bucket.address}/answers.txt") == ("yes", "no")


def configured(bucket, cache_dir, **data):
    config = default()
    config.data.update({"root": bucket.address, **data})
    config.storage.update({"cache_dir": str(cache_dir), "cache_gb": 0.05, "retry_seconds": 5})
    return config


def test_a_configuration_names_addresses(bucket, cache_dir, tars):
    uploaded(tars, bucket.address)
    config = configured(bucket, cache_dir, source="webdataset", train_files="0000{0..1}.tar")
    validate(config)
    bucket.proxy.forget()
    source = build.open_train_pairs(config)
    equal([source[0]], [TarPairs(sorted(tars.glob("*.tar")))[0]])
    for change, message in (
        ({"train_files": "0000{1..2}.tar"}, f"no such file: {bucket.address}/00002.tar; did you"),
        ({"root": f"{bucket.address}/no"}, f"no such file: {bucket.address}/no/00000.tar"),
        ({"source": "json", "train_files": "00000.tar", "image_root": "no"}, "no such directory:"),
    ):
        with pytest.raises(ConfigError, match=r"data\.train_files|image_root") as error:
            validate(configured(bucket, cache_dir, **{**config.data.to_dict(), **change}))
        assert message in str(error.value)


def test_the_fingerprint_takes_versions_for_contents(bucket, cache_dir, tars):
    uploaded(tars, bucket.address)
    config = configured(bucket, cache_dir, source="webdataset", train_files="*.tar")
    source = build.open_train_pairs(config)
    bucket.proxy.forget()
    before = stamps(*training(config, source))
    assert all("/o/00000" not in request for request in bucket.proxy.requests)
    assert before == stamps(*training(config, source)) and len(before) == 2
    path = BucketPath(bucket.address) / "00001.tar"
    shard(tars / "00001.tar", sample(4), sample(8))
    path.upload(tars / "00001.tar")
    assert different(before, stamps(*training(config, source))) == [
        f"{path}: has other content than before"
    ]
    on_disk = stamps((), [tars / "00000.tar"])
    (told,) = different(
        {str(path.parent / "00000.tar"): next(iter(on_disk.values()))},
        {name: stamp for name, stamp in before.items() if "00000" in name},
    )
    assert "only versions are compared" in told
    assert "TRAINING" in held_out.describe([path], [path])


def test_worker_processes_read_from_the_bucket(bucket, cache_dir, images):
    """They have the settings of this process, and so the cache, too."""
    expected = list(batches(JsonPairs([images / "a.json"], images / "images"), 0, num_steps=1))
    uploaded(images, bucket.address)
    items = json.loads((images / "a.json").read_text())
    for item in items:
        item["image"] = f"{bucket.address}/images/{item['image']}"
    (images / "b.json").write_text(json.dumps(items))
    got = list(batches(JsonPairs([images / "b.json"], images), 1, num_steps=1))
    for ours, theirs in zip(got, expected, strict=True):
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    assert list((cache_dir / "data" / "regions").iterdir())
