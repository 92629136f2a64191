import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tiny_model import model_of

pytest.importorskip("faiss")

from albef_jax.apps.search import index as index_module
from albef_jax.apps.search import storage
from albef_jax.apps.search.index import build_index, open_index
from albef_jax.apps.search.items import SearchError, items_of
from albef_jax.inference.model import CannotServe


@pytest.fixture(scope="module")
def model():
    return model_of("retrieval")


@pytest.fixture
def folder(tmp_path):
    """Ten noisy images, one of them in a folder, and what is no image."""
    place = tmp_path / "images"
    (place / "more").mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (10, 40, 56, 3), np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(place / ("more" if number == 9 else "") / f"{number}.png")
    (place / "notes.txt").write_text("no image")
    (place / ".hidden.png").write_text("no image")
    return place


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a red ball\n\ntwo cubes\na star\ntwo cubes\n", "utf-8")
    return path


def test_search_is_exact_and_re_ranked(model, folder, tmp_path):
    items = items_of(images=folder)
    assert "1 with .txt" in items.note
    assert [item.name for item in items.items][-1] == "more/9.png"
    built = build_index(model, items, tmp_path / "index", block=4)
    assert (built.manifest["count"], built.computed, built.bad) == (10, 10, [])
    index = open_index(tmp_path / "index", model)
    names = [item.name for item in items.items]
    features = model.encode_image([folder / name for name in names]).feature
    cosines = features @ model.encode_text("a red ball").feature[0]
    plain = index.search("a red ball", k=5, rerank=False)
    assert [hit.name for hit in plain] == [names[place] for place in np.argsort(-cosines)[:5]]
    np.testing.assert_allclose([hit.itc for hit in plain], np.sort(cosines)[::-1][:5], atol=1e-5)
    assert all(hit.itm is None for hit in plain)
    hits = index.search("a red ball", k=5)
    assert {hit.name for hit in hits} == {hit.name for hit in plain}
    itm = model.match([hit.path for hit in hits], "a red ball").itm
    np.testing.assert_allclose([hit.itm for hit in hits], itm, rtol=1e-4)
    assert list(itm) == sorted(itm, reverse=True)
    assert len(index.search("a red ball", k=99)) == 10


def test_captions_are_found_by_a_image(model, captions, folder, tmp_path):
    build_index(model, items_of(captions=captions), tmp_path / "index")
    index = open_index(tmp_path / "index", model)
    assert len(index) == 3  # blank and repeated lines do not count
    hits = index.search(folder / "0.png", k=2)
    assert len(hits) == 2 and hits[0].itm >= hits[1].itm
    assert {hit.name for hit in hits} <= {"a red ball", "two cubes", "a star"}
    assert index.search(str(folder / "0.png"), k=2) == hits
    with pytest.raises(SearchError, match="holds captions: ask it by an image"):
        index.search("a red ball")


def test_an_index_of_images_is_asked_by_a_text(model, folder, tmp_path):
    build_index(model, items_of(images=folder), tmp_path / "index")
    index = open_index(tmp_path / "index", model)
    with pytest.raises(SearchError, match="ask it by a text"):
        index.search(folder / "0.png")
    with pytest.raises(SearchError, match="empty"):
        index.search("  ")
    for several in (["a ball", "a star"], [folder / "0.png"] * 2):
        with pytest.raises(SearchError, match="one query at a time, not list"):
            index.search(several)
    with pytest.raises(SearchError, match="k=0"):
        index.search("a ball", k=0)


def test_bad_images_are_left_out_and_told(model, folder, tmp_path, capsys):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xffno image")
    built = build_index(model, items_of(images=folder), tmp_path / "index", bar=True)
    assert built.manifest["count"] == 10 and built.manifest["bad"] == 1
    told = json.loads((tmp_path / "index/bad_samples.jsonl").read_text())
    assert told["name"] == "broken.jpg" and "not an image" in told["reason"]
    assert "left out: broken.jpg" in capsys.readouterr().err


def test_only_bad_images(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(SearchError, match=r"none of 1 images can be used, as a\.jpg.*empty"):
        build_index(model, items_of(images=tmp_path), tmp_path / "index")


def test_after_a_break_finished_blocks_are_kept(model, folder, tmp_path, monkeypatch):
    items, calls = items_of(images=folder), []
    features = index_module._features

    def breaks(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return features(*given)

    monkeypatch.setattr(index_module, "_features", breaks)
    with pytest.raises(KeyboardInterrupt):
        build_index(model, items, tmp_path / "index", block=3)
    with pytest.raises(SearchError, match="not complete"):
        open_index(tmp_path / "index", model)
    monkeypatch.setattr(index_module, "_features", features)
    (tmp_path / "index/building/000001.part").write_bytes(b"half")  # as a kill leaves it
    built = build_index(model, items, tmp_path / "index", block=3)
    assert (built.computed, built.manifest["count"]) == (4, 10)
    assert not (tmp_path / "index/building").exists()
    build_index(model, items, tmp_path / "unbroken")
    ours, theirs = (open_index(tmp_path / name, model) for name in ("index", "unbroken"))
    assert ours.items == theirs.items
    np.testing.assert_allclose(
        ours.vectors.reconstruct_n(0, 10), theirs.vectors.reconstruct_n(0, 10), atol=1e-5
    )


def test_a_damaged_block_is_computed_again(model, folder, tmp_path):
    items = items_of(images=folder)
    work = tmp_path / "index/building"
    work.mkdir(parents=True)
    (work / "000000.npz").write_bytes(b"half a block")
    with pytest.warns(UserWarning, match="damaged"):
        built = build_index(model, items, tmp_path / "index")
    assert built.computed == 10


def test_only_what_changed_is_encoded_again(model, folder, tmp_path):
    build_index(model, items_of(images=folder), tmp_path / "index")
    assert build_index(model, items_of(images=folder), tmp_path / "index").computed == 0
    (folder / "3.png").unlink()
    Image.new("RGB", (20, 20), "red").save(folder / "4.png")
    Image.new("RGB", (20, 20), "red").save(folder / "new.png")
    os.utime(folder / "5.png", ns=(1, 1))
    built = build_index(model, items_of(images=folder), tmp_path / "index")
    assert (built.computed, built.manifest["count"]) == (3, 10)
    index = open_index(tmp_path / "index", model)
    row = [item.name for item in index.items].index("4.png")
    feature = model.encode_image(folder / "4.png").feature[0]
    np.testing.assert_allclose(index.vectors.reconstruct(row), feature, atol=1e-5)
    assert len(list((tmp_path / "index").glob("*.faiss"))) == 1


def test_another_model_is_refused(model, folder, tmp_path):
    build_index(model, items_of(images=folder), tmp_path / "index")
    other = model_of("grounding")
    other.params["image_proj"]["bias"] += 1
    with pytest.raises(SearchError, match="built with another model"):
        open_index(tmp_path / "index", other)
    with pytest.raises(SearchError, match="an index with another model"):
        build_index(other, items_of(images=folder), tmp_path / "index")
    with pytest.raises(SearchError, match=r"no longer at \(unknown\); name it by --model"):
        open_index(tmp_path / "index")
    with pytest.raises(CannotServe, match="features"):
        build_index(model_of("entailment"), items_of(images=folder), tmp_path / "none")


def test_a_damaged_index_is_refused(model, folder, tmp_path):
    build_index(model, items_of(images=folder), tmp_path / "index")
    (vectors,) = (tmp_path / "index").glob("*.faiss")
    vectors.write_bytes(vectors.read_bytes()[:-9])
    with pytest.raises(SearchError, match=r"bytes instead of .* build again"):
        open_index(tmp_path / "index", model)
    (tmp_path / "index" / storage.MANIFEST).write_text("{}")
    with pytest.raises(SearchError, match="not the manifest of an index"):
        open_index(tmp_path / "index", model)


def test_a_image_that_has_gone(model, folder, tmp_path):
    build_index(model, items_of(images=folder), tmp_path / "index")
    index = open_index(tmp_path / "index", model)
    (folder / "0.png").unlink()
    with pytest.raises(SearchError, match=r"0\.png.*build it again"):
        index.search("a ball", k=10)
    assert len(index.search("a ball", k=10, rerank=False)) == 10


def test_annotations(model, folder, tmp_path):
    names = ["0.png", "1.png", "0.png", "gone.png"]
    rows = [{"image": name, "caption": ["a ball", f"of {name}"]} for name in names]
    file = folder / "pairs.json"
    file.write_text(json.dumps(rows))
    images = items_of(images=file)
    built = build_index(model, images, tmp_path / "index")
    assert built.manifest["count"] == 2 and built.bad[0][0].name == "gone.png"
    texts = [item.name for item in items_of(captions=file).items]
    assert texts == ["a ball", "of 0.png", "of 1.png", "of gone.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}', "not a list"),
        ("[1]", "item 0 is neither"),
        ('["a", {"text": "b"}]', "item 1 is neither"),
        ("[]", "no captions"),
        ("[", "not JSON"),
    ],
)
def test_captions_that_cannot_be_used(content, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        items_of(captions=tmp_path / "a.json")


def test_what_cannot_be_indexed(model, captions, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SearchError, match="no images"):
        items_of(images=tmp_path / "empty")
    with pytest.raises(SearchError, match="no such folder"):
        items_of(images=tmp_path / "nowhere")
    with pytest.raises(SearchError, match="either"):
        items_of()
    with pytest.raises(SearchError, match="other files"):
        build_index(model, items_of(captions=captions), tmp_path)
    with pytest.raises(SearchError, match="no index here"):
        open_index(tmp_path, model)


def test_phone_photos_are_indexed_and_judged_upright(model, tmp_path):
    upright = np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_270)
    (tmp_path / "photos").mkdir()
    lying.save(tmp_path / "photos" / "phone.png", exif=exif)
    build_index(model, items_of(images=tmp_path / "photos"), tmp_path / "index")
    (hit,) = open_index(tmp_path / "index", model).search("a red ball")
    expected = model.match(upright, "a red ball")
    assert (hit.itc, hit.itm) == pytest.approx((expected.itc[0], expected.itm[0]), abs=1e-5)
