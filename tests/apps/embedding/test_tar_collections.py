"""Features of the samples of tar shards: images and captions, resumed, shared, and indexed."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from albef_jax.apps.embedding import encoding
from albef_jax.apps.embedding.encoding import embed
from albef_jax.apps.embedding.for_search import rows_of
from albef_jax.apps.embedding.shards import open_features
from albef_jax.apps.search.items import items_of
from albef_jax.inference.outputs import SearchError
from tests.helpers.tar_files import image, sample, shard
from tests.helpers.tiny_model import model_of
from tools.embed import main

BAD = 4  # its image is damaged
NAMES = [f"{number // 3:05}.tar/{number:09}" for number in range(9)]


@pytest.fixture(scope="module")
def model():
    return replace(model_of("retrieval"), batch_size=4)


@pytest.fixture
def tars(tmp_path):
    """Three shards of three samples each; the image of number 4 and the caption of 7 are not."""
    folder = tmp_path / "tars"
    for first in (0, 3, 6):
        samples = [sample(number) for number in range(first, first + 3)]
        if first == 3:
            samples[1] = sample(BAD, jpg=image(BAD)[:200])
        if first == 6:
            samples[1] = sample(7, txt=b"\xff")
        shard(folder / f"{first // 3:05}.tar", *samples)
    return folder


def rows(folder):
    """Item numbers and features of all shards."""
    found = list(open_features(folder))
    return [n for numbers, _ in found for n in numbers], np.concatenate([f for _, f in found])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def bad_of(folder):
    return [line for path in sorted(folder.glob("*.bad.jsonl")) for line in lines(path)]


def test_images_in_shards(model, tars, tmp_path):
    out = tmp_path / "out"
    found = embed(model, items_of(images=tars / "{00000..00002}.tar"), out, shard_size=4)
    assert (found.shards, found.encoded, found.bad) == ((3, 3), 8, 1)
    numbers, features = rows(out)
    assert numbers == [n for n in range(9) if n != BAD]
    for n in numbers:
        (tmp_path / f"{n}.jpg").write_bytes(image(n))
    expected = model.encode_image([tmp_path / f"{n}.jpg" for n in numbers]).feature
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)
    named = [line["name"] for path in sorted(out.glob("0000?.jsonl")) for line in lines(path)]
    assert named == [NAMES[n] for n in numbers]
    (bad,) = bad_of(out)
    assert (bad["item"], bad["name"]) == (BAD, NAMES[BAD])
    assert bad["reason"]


def test_captions_in_shards_have_the_names_of_their_images(model, tars, tmp_path):
    out = tmp_path / "out"
    embed(model, items_of(captions=tars / "*.tar"), out)
    numbers, features = rows(out)
    assert numbers == [n for n in range(9) if n != 7]
    expected = model.encode_text([f"caption {n}" for n in numbers]).feature
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)
    assert [line["name"] for line in lines(out / "00000.jsonl")] == [NAMES[n] for n in numbers]
    (bad,) = bad_of(out)
    assert (bad["name"], bad["reason"]) == (NAMES[7], "its .txt is not UTF-8")
    told = items_of(captions=tars / "*.tar", caption_field="caption")
    embed(model, told, tmp_path / "told")
    expected = model.encode_text([f"json caption {n}" for n in range(9)]).feature
    np.testing.assert_allclose(rows(tmp_path / "told")[1], expected, rtol=0, atol=1e-6)
    with pytest.raises(SearchError, match="begun with another caption_field"):
        embed(model, told, out)


def test_a_kill_loses_a_shard_and_parts_share_the_rest(model, tars, tmp_path):
    items, out = items_of(images=tars), tmp_path / "out"
    embed(model, items, tmp_path / "whole", shard_size=2)
    save, written = encoding.shards.write_shard, []

    def killed(*arguments):
        if written:
            raise KeyboardInterrupt
        written.append(arguments[1])
        save(*arguments)

    with patch.object(encoding.shards, "write_shard", killed), pytest.raises(KeyboardInterrupt):
        embed(model, items, out, shard_size=2)
    again = [embed(model, items_of(images=tars), out, shard_size=2, part=(n, 2)) for n in (1, 0)]
    assert [one.encoded for one in again] == [4, 2]
    assert again[1].shards == (5, 5)
    np.testing.assert_array_equal(rows(out)[1], rows(tmp_path / "whole")[1])


def test_shards_that_changed_are_another_collection(model, tars, tmp_path):
    out = tmp_path / "out"
    before = items_of(images=tars)
    embed(model, before, out)
    changed = tars / "00001.tar"
    os.utime(changed, ns=(1, 1))
    with pytest.raises(SearchError, match="another items_digest"):
        embed(model, items_of(images=tars), out)
    found = embed(model, before, tmp_path / "meanwhile", shard_size=3)
    assert (found.encoded, found.bad) == (6, 3)
    assert {bad["reason"] for bad in bad_of(tmp_path / "meanwhile")} == {
        "the shard was changed during the run; start it again"
    }
    (tars / "00002.tar").rename(tars / "00003.tar")
    os.utime(changed, ns=(before.items[3].changed,) * 2)
    with pytest.raises(SearchError, match="another items_digest"):
        embed(model, items_of(images=tars), out)


def test_an_index_of_images_in_shards(model, tars, tmp_path):
    pytest.importorskip("faiss")
    from albef_jax.apps.search.contact_sheet import image_sheet
    from albef_jax.apps.search.index import build_index, open_index

    items = items_of(images=tars)
    embed(model, items, tmp_path / "features")
    known = rows_of(tmp_path / "features", items, model)
    built = build_index(model, items, tmp_path / "index", known=known)
    assert built.computed == 0
    assert [item.name for item, _ in built.bad] == [NAMES[BAD]]
    plain = build_index(model, items, tmp_path / "plain")
    assert plain.computed == 8
    hits, expected = (
        open_index(tmp_path / name, model).search("a red ball", k=3) for name in ("index", "plain")
    )
    assert {hit.name for hit in hits} <= set(NAMES)
    assert [hit.itm for hit in hits] == pytest.approx([hit.itm for hit in expected], abs=1e-5)
    assert hits[0].path == tars / hits[0].name
    sheet = np.asarray(image_sheet("a red ball", hits))
    (tars / "00000.tar").unlink()
    (tars / "00001.tar").unlink()
    (tars / "00002.tar").unlink()
    assert np.any(sheet != np.asarray(image_sheet("a red ball", hits)))  # there were images
    with pytest.raises(SearchError, match="it was there when"):
        open_index(tmp_path / "index", model).search("a red ball", k=3)


def test_captions_in_shards_have_no_index(model, tars, tmp_path):
    pytest.importorskip("faiss")
    from albef_jax.apps.search.index import build_index

    with pytest.raises(SearchError, match="an index keeps captions by their texts"):
        build_index(model, items_of(captions=tars / "*.tar"), tmp_path / "index")


def test_the_command(tars, tmp_path, capsys, monkeypatch):
    command = ["embed", "scenes", f"--images={tars}/{{00000..00002}}.tar"]
    monkeypatch.setattr(sys, "argv", [*command, f"--out={tmp_path / 'out'}"])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "1 of 1 shards, 8 items encoded now" in printed
    assert "1 cannot be read" in printed
    field = ["embed", "scenes", f"--captions={tars}/*.tar", "--caption_field=text"]
    monkeypatch.setattr(sys, "argv", [*field, f"--out={tmp_path / 'more'}"])
    assert main() == 2
    assert "--caption_field=text: no such field" in capsys.readouterr().err


def test_images_are_turned_upright_in_shards_too(model, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    data = (tmp_path / "turned.png").read_bytes()
    path = shard(tmp_path / "tars" / "a.tar", {"x.png": data, "x.txt": "x"})
    embed(model, items_of(images=path), tmp_path / "out")
    expected = model.encode_image([Path(tmp_path / "turned.png")]).feature
    np.testing.assert_allclose(rows(tmp_path / "out")[1], expected, rtol=0, atol=1e-6)
