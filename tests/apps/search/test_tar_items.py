"""Which samples of which tar shards a command names."""

import gzip
from pathlib import Path

import pytest

from albef_jax.apps.search.item import Item
from albef_jax.apps.search.items import items_of
from albef_jax.apps.search.reading import caption_of, image_at
from albef_jax.errors import BadSample
from albef_jax.inference.outputs import SearchError
from tests.helpers.tar_files import image, sample, shard


@pytest.fixture
def shards(tmp_path):
    """Two of them in folders beside each other, with three and two samples."""
    shard(tmp_path / "a" / "00000.tar", *(sample(n) for n in (1, 2, 3)))
    shard(tmp_path / "b" / "00001.tar", *(sample(n) for n in (4, 5)))
    return tmp_path


NAMES = [
    *(f"a/00000.tar/00000000{n}" for n in (1, 2, 3)),
    *(f"b/00001.tar/00000000{n}" for n in (4, 5)),
]


@pytest.mark.parametrize(
    "pattern",
    [
        "{root}/*/*.tar",
        "{root}/b/00001.tar,{root}/a/00000.tar",
        "{root}/{{a/00000,b/00001}}.tar",
        "{root}/*/0000[01].tar",
    ],
)
def test_patterns(pattern, shards):
    """As in training."""
    given = Path(pattern.format(root=shards))
    items = items_of(images=given)
    assert [item.name for item in items.items] == NAMES
    assert (items.kind, items.root) == ("image", str(shards))
    status = (shards / "a" / "00000.tar").stat()
    assert items.items[0] == Item(NAMES[0], status.st_size, status.st_mtime_ns)


def test_one_shard_and_a_folder_of_shards(shards, monkeypatch):
    monkeypatch.chdir(shards / "a")
    one = items_of(images=Path("00000.tar"))
    folder = items_of(images=shards / "a")
    assert [item.name for item in one.items] == [f"00000.tar/00000000{n}" for n in (1, 2, 3)]
    assert one.items == folder.items
    assert one.root == folder.root == str(shards / "a")
    assert one.source == str(shards / "a" / "00000.tar")
    (shards / "a" / "x.png").write_bytes(image(1, "PNG"))
    mixed = items_of(images=shards / "a")
    assert [item.name for item in mixed.items] == ["x.png"]
    assert "1 with .tar" in mixed.note


def test_captions(shards):
    items = items_of(captions=shards / "a" / "00000.tar")
    assert (items.kind, items.items[0].name) == ("text", "00000.tar/000000001")
    assert [caption_of(items, item) for item in items.items] == [f"caption {n}" for n in (1, 2, 3)]
    told = items_of(captions=shards / "b" / "00001.tar", caption_field="caption")
    assert caption_of(told, told.items[1]) == "json caption 5"


def test_captions_need_no_images(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1, jpg=None), sample(2, jpg=None))
    assert len(items_of(captions=path).items) == 2
    with pytest.raises(ValueError, match="has no images"):
        items_of(images=path)


def test_what_belongs_to_no_sample_is_told(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1), {"notes.md": "x"})
    assert "1 files in the shards belong to no sample" in items_of(images=path).note


def test_a_sample_without_its_part_is_bad(tmp_path):
    path = shard(tmp_path / "a.tar", sample(1), sample(2, jpg=None), sample(3, txt=b"\xff\xfe"))
    items = items_of(images=path)
    assert image_at(Path(items.root) / items.items[0].name, items.items[0]).shape == (16, 24, 3)
    with pytest.raises(BadSample, match=r"a\.tar/000000002: there is no image"):
        image_at(Path(items.root) / items.items[1].name, items.items[1])
    texts = items_of(captions=path)
    with pytest.raises(BadSample, match=r"a\.tar/000000003: its \.txt is not UTF-8"):
        caption_of(texts, texts.items[2])


REFUSED = {
    "shards that are not there": ("a/{00000..00002}.tar", r"2 of 3 shards .*00001\.tar"),
    "shards and other files": ("a/00000.tar,list.json", r"shards and other files, as .*list\.json"),
    "a packed shard": ("packed.tar.gz", r"compressed \(gzip\).*unpack"),
    "a shard that is cut": ("cut.tar", "cut short"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, shards, monkeypatch):
    monkeypatch.chdir(shards)
    data = (shards / "a" / "00000.tar").read_bytes()
    Path("packed.tar.gz").write_bytes(gzip.compress(data))
    Path("cut.tar").write_bytes(data[:3000])
    Path("list.json").write_text("[]")
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        items_of(images=Path(given))


def test_captions_that_are_elsewhere(shards, tmp_path):
    path = shards / "a" / "00000.tar"
    with pytest.raises(ValueError, match=r"--caption_field=captoin: .*did you mean 'caption'"):
        items_of(captions=path, caption_field="captoin")
    bare = shard(tmp_path / "bare.tar", sample(1, txt=None))
    with pytest.raises(ValueError, match=r"no sample has a \.txt; name in --caption_field"):
        items_of(captions=bare)
    with pytest.raises(SearchError, match="--caption_field is of captions in tar shards"):
        items_of(images=path, caption_field="caption")
