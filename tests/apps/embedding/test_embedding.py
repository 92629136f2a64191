"""Features of a collection: equal to those of single images, shared, resumed, and indexed."""

import json
import sys
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from albef_jax.apps.embedding import encoding
from albef_jax.apps.embedding.encoding import embed
from albef_jax.apps.embedding.for_search import rows_of
from albef_jax.apps.embedding.shards import open_features
from albef_jax.apps.search.items import items_of
from albef_jax.inference.outputs import NotFinite, SearchError
from tests.helpers.tiny_model import model_of
from tools.embed import main, part_of

COUNT, BAD = 11, 5


@pytest.fixture(scope="module")
def model():
    return replace(model_of("retrieval"), batch_size=4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy images; number 5 cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 40, 56, 3), np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    (folder / f"{BAD:02}.png").write_bytes(b"no image")
    return folder


def rows(folder):
    """Item numbers and features of all shards."""
    found = list(open_features(folder))
    return [n for numbers, _ in found for n in numbers], np.concatenate([f for _, f in found])


def test_features_are_those_of_the_model(model, photos, tmp_path):
    out = tmp_path / "out"
    found = embed(model, items_of(images=photos), out, shard_size=4, tokens=True)
    assert (found.shards, found.encoded, found.bad) == ((3, 3), COUNT - 1, 1)
    assert found.rate > 0 and found.roof is None  # nobody knows a CPU's peak
    numbers, features = rows(out)
    assert numbers == [n for n in range(COUNT) if n != BAD]
    expected = model.encode_image([photos / f"{n:02}.png" for n in numbers])
    np.testing.assert_allclose(features, expected.feature, rtol=0, atol=1e-6)
    tokens = np.load(out / "00001.tokens.npy")
    assert tokens.dtype == np.float16
    np.testing.assert_allclose(tokens, expected.tokens[4:7], rtol=2e-3, atol=2e-3)
    names = [json.loads(line)["name"] for line in (out / "00001.jsonl").read_text().splitlines()]
    assert names == ["04.png", "06.png", "07.png"]
    (bad,) = map(json.loads, (out / "00001.bad.jsonl").read_text().splitlines())
    assert (bad["item"], bad["name"]) == (BAD, "05.png") and bad["reason"]


def test_captions(model, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("a red ball\ntwo cubes\na star\n")
    embed(model, items_of(captions=file), tmp_path / "out", dtype="float16")
    numbers, features = rows(tmp_path / "out")
    expected = model.encode_text(["a red ball", "two cubes", "a star"]).feature
    assert numbers == [0, 1, 2] and features.dtype == np.float16
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-3)


def test_nothing_is_done_twice(model, photos, tmp_path):
    items, out = items_of(images=photos), tmp_path / "out"
    whole = tmp_path / "whole"
    embed(model, items, whole, shard_size=3)
    written = []
    save = encoding.shards.write_shard

    def killed(*arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(arguments[1])
        save(*arguments)

    with patch.object(encoding.shards, "write_shard", killed), pytest.raises(KeyboardInterrupt):
        embed(model, items, out, shard_size=3)
    with pytest.raises(SearchError, match="2 of 4 shards are missing, as 00002"):
        open_features(out)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    found = embed(model, items, out, shard_size=3)
    assert (found.shards, found.encoded) == ((4, 4), 5)
    assert all((out / name).stat().st_mtime_ns == changed for name, changed in kept.items())
    np.testing.assert_array_equal(rows(out)[1], rows(whole)[1])
    assert embed(model, items, out, shard_size=3).encoded == 0


def test_processes_share_the_shards(model, photos, tmp_path):
    items = items_of(images=photos)
    counts = [embed(model, items, tmp_path, shard_size=3, part=(n, 3)) for n in (2, 0, 1)]
    assert [one.encoded for one in counts] == [3, 5, 2]  # one image is bad
    assert [one.shards[0] for one in counts] == [1, 3, 4]
    assert rows(tmp_path)[0] == [n for n in range(COUNT) if n != BAD]


def test_another_collection_or_model_is_refused(model, photos, tmp_path):
    items, out = items_of(images=photos), tmp_path / "out"
    embed(model, items, out)
    fewer = replace(items, items=items.items[1:])
    with pytest.raises(SearchError, match="another items, items_digest"):
        embed(model, fewer, out)
    other = replace(model, params={**model.params, "temperature": model.params["temperature"] * 2})
    embed(other, items, out)  # features do not depend on it
    moved = {**model.params, "image_proj": model.params["text_proj"]}
    with pytest.raises(SearchError, match="begun with another model"):
        embed(replace(model, params=moved), items, out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(SearchError, match="a folder with other files"):
        embed(model, items, tmp_path / "full")
    with pytest.raises(SearchError, match="make one by tools"):
        open_features(tmp_path / "full")


def test_damaged_weights_are_told(model, photos, tmp_path):
    kernel = model.params["image_proj"]["kernel"] * np.nan
    damaged = {**model.params, "image_proj": {**model.params["image_proj"], "kernel": kernel}}
    with pytest.raises(NotFinite, match="image_proj"):
        embed(replace(model, params=damaged), items_of(images=photos), tmp_path)


def test_an_index_is_made_of_the_features(model, photos, tmp_path):
    pytest.importorskip("faiss")
    from albef_jax.apps.search.index import build_index, open_index

    items = items_of(images=photos)
    embed(model, items, tmp_path / "features", dtype="float16", shard_size=4)
    known = rows_of(tmp_path / "features", items, model)
    built = build_index(model, items, tmp_path / "index", known=known)
    assert built.computed == 0 and len(built.bad) == 1
    plain = build_index(model, items, tmp_path / "plain")
    assert plain.computed == COUNT - 1
    found, expected = (
        open_index(tmp_path / name, model).search("a red ball", k=4, rerank=False)
        for name in ("index", "plain")
    )
    np.testing.assert_allclose([h.itc for h in found], [h.itc for h in expected], atol=2e-3)
    changed = replace(items, items=items.items[::-1])
    with pytest.raises(SearchError, match="as they were then"):
        rows_of(tmp_path / "features", changed, model)


@pytest.mark.parametrize("text", ["", "2", "a/b", "2/2", "-1/2"])
def test_parts_that_cannot_be(text):
    import argparse

    with pytest.raises(argparse.ArgumentTypeError):
        part_of(text)
    assert part_of("1/2") == (1, 2)


def test_the_command(photos, tmp_path, capsys, monkeypatch):
    command = ["embed", "scenes", f"--images={photos}", f"--out={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", [*command, "--shard_size=6", "--part=0/2"])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "1 of 2 shards, 5 items encoded now" in printed and "1 cannot be read" in printed
    monkeypatch.setattr(sys, "argv", [*command, "--shard_size=0"])
    assert main() == 2
    assert "--shard_size=0: must be 1 or more" in capsys.readouterr().err


def test_a_shard_of_nothing_but_bad_items(model, photos, tmp_path):
    found = embed(model, items_of(images=photos), tmp_path, shard_size=1, tokens=True)
    assert (found.shards, found.bad) == ((COUNT, COUNT), 1)
    assert np.load(tmp_path / "00005.npy").shape == (0, model.config.embed_dim)
    assert len(np.load(tmp_path / "00005.tokens.npy")) == 0
    assert rows(tmp_path)[0] == [n for n in range(COUNT) if n != BAD]
