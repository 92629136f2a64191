"""Features and indexes of what lies in a bucket, written into one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from albef_jax.apps.embedding.encoding import embed
from albef_jax.apps.embedding.for_search import rows_of
from albef_jax.apps.embedding.shards import open_features
from albef_jax.apps.search import storage
from albef_jax.apps.search.index import build_index, open_index
from albef_jax.apps.search.items import items_of
from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import BucketPath
from tests.helpers.in_buckets import uploaded
from tests.helpers.tar_files import sample, shard
from tests.helpers.tiny_model import model_of

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def model():
    return replace(model_of("retrieval"), batch_size=4)


@pytest.fixture
def photos(bucket, cache_dir, tmp_path):
    """Six images, on the disk and in the bucket, of which 2 cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 56, 3), np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no image")
    uploaded(folder, f"{bucket.address}/photos")
    return folder


def test_features_in_a_bucket_are_those_on_a_disk(model, bucket, photos, tmp_path):
    out = BucketPath(bucket.address) / "out"
    items = items_of(images=f"{bucket.address}/photos")
    first = embed(model, items, out, shard_size=4, part=(0, 2))
    assert (first.shards, first.encoded, first.bad) == ((1, 2), 3, 1)
    with pytest.raises(SearchError, match=f"{out}: 1 of 2 shards are missing, as 00001"):
        open_features(out)
    embed(model, items, out, shard_size=4)
    embed(model, items_of(images=photos), tmp_path / "out", shard_size=4)
    for ours, theirs in zip(open_features(out), open_features(tmp_path / "out"), strict=True):
        assert ours[0] == theirs[0] and np.array_equal(ours[1], theirs[1])
    with pytest.raises(SearchError, match=f"{out}: begun with another dtype"):
        embed(model, items, out, shard_size=4, dtype="float16")
    assert len(rows_of(out, items, model)) == 5


def test_an_index_in_a_bucket(model, bucket, photos, tmp_path, monkeypatch):
    folder = f"{bucket.address}/index"
    items = items_of(images=f"{bucket.address}/photos")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(storage, "write_index", stopped)
        build_index(model, items, folder, block=2)
    assert "index/building/000000.npz" in bucket.names()
    with pytest.raises(SearchError, match=f"{folder}: its building is not complete"):
        open_index(folder, model)
    built = build_index(model, items, folder, block=2)
    assert built.computed == 0 and [item.name for item, _ in built.bad] == ["2.png"]
    assert not [name for name in bucket.names() if "building" in name]
    build_index(model, items_of(images=photos), tmp_path / "index")
    expected = open_index(tmp_path / "index", model).search("a red ball", 3)
    found = open_index(folder, model).search("a red ball", 3)
    assert [(hit.name, hit.itm) for hit in found] == [(hit.name, hit.itm) for hit in expected]
    assert str(found[0].path) == f"{bucket.address}/photos/{found[0].name}"
    (BucketPath(bucket.address) / "photos" / "6.png").upload(photos / "0.png")
    assert build_index(model, items_of(images=f"{bucket.address}/photos"), folder).computed == 1
    assert len([name for name in bucket.names() if name.endswith(".faiss")]) == 1


def stopped(*_):
    raise KeyboardInterrupt


def test_collections_by_address(bucket, cache_dir, tmp_path):
    up, address = tmp_path / "up", bucket.address
    shard(up / "a" / "0.tar", sample(0), sample(1))
    shard(up / "b" / "1.tar", sample(2))
    (up / "texts.txt").write_text("a ball\na star\n")
    (up / "list.json").write_text(json.dumps([{"image": "x.jpg"}]))
    (up / "x.jpg").write_bytes(sample(0)["000000000.jpg"])
    uploaded(up, address)
    tars = items_of(images=f"{address}/{{a/0,b/1}}.tar")
    assert (tars.root, tars.items[2].name) == (address, "b/1.tar/000000002")
    assert [item.name for item in items_of(images=f"{address}/a").items] == [
        "0.tar/000000000",
        "0.tar/000000001",
    ]
    captions = items_of(captions=f"{address}/a/0.tar,{address}/b/1.tar")
    assert captions.kind == "text" and len(captions.items) == 3
    assert [one.name for one in items_of(captions=f"{address}/texts.txt").items][1] == "a star"
    listed = items_of(images=f"{address}/list.json")
    assert (listed.root, listed.items[0].name, listed.items[0].size > 0) == (address, "x.jpg", True)
    for wrong in ("no", "no.tar"):
        with pytest.raises(SearchError, match=f"{address}/{wrong}"):
            items_of(images=f"{address}/{wrong}")
