"""Packing from a bucket and into one: the bytes that packing on a disk gives, through stops."""

import json

import pytest

from albef_jax.config.file_patterns import expand
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.prepare import packing
from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.shards.array_record import ArrayRecordPairs
from albef_jax.storage.paths import BucketPath
from tests.helpers.in_buckets import uploaded
from tests.helpers.tar_files import image
from tools.pack_dataset import main

ITEMS = 9
PLAN = Plan(ITEMS, {"source": "json"}, shard_size=4, vocab="scenes")


@pytest.fixture
def source(bucket, cache_dir, tmp_path):
    """Nine images in the bucket, of which 3 is empty."""
    for number in range(ITEMS):
        (tmp_path / "up").mkdir(exist_ok=True)
        (tmp_path / "up" / f"{number}.jpg").write_bytes(image(number) if number != 3 else b"")
    items = [{"image": f"{number}.jpg", "caption": f"a {number}"} for number in range(ITEMS)]
    (tmp_path / "up" / "a.json").write_text(json.dumps(items))
    uploaded(tmp_path / "up", f"{bucket.address}/in")
    return JsonPairs([f"{bucket.address}/in/a.json"], f"{bucket.address}/in")


def contents(folder):
    found = folder.walk_files() if isinstance(folder, BucketPath) else folder.iterdir()
    return {path.name: path.read_bytes() for path in found}


def test_the_bucket_gets_what_a_disk_would(bucket, source, tmp_path):
    out = BucketPath(bucket.address) / "out"
    manifest = pack(source, PLAN, out, 2, bar=False)
    assert pack(source, PLAN, tmp_path / "out", 2, bar=False) == manifest
    assert contents(out) == contents(tmp_path / "out")
    assert manifest["records"] == ITEMS - 1 and manifest["bad"] == 1
    before = bucket.names()
    assert pack(source, PLAN, out, 2, bar=False) == manifest
    assert bucket.names() == before
    with pytest.raises(PackingError, match=f"{out} was begun with other options") as error:
        pack(source, Plan(ITEMS, PLAN.given, resize=8, vocab="scenes"), out, 1, bar=False)
    assert "albef_jax-out-" not in str(error.value)
    found = ArrayRecordPairs(expand(out, "*.array_record"))
    assert [pair.captions for pair in (found[0], found[7])] == [("a 0",), ("a 8",)]


def test_packing_goes_on_after_a_stop(bucket, source, tmp_path, monkeypatch):
    """As on another machine: nothing is left here."""
    out, packed = BucketPath(bucket.address) / "out", []
    whole = packing.pack_shard

    def stopping(source, plan, number, *rest):
        if packed:
            raise KeyboardInterrupt
        packed.append(number)
        return whole(source, plan, number, *rest)

    monkeypatch.setattr(packing, "pack_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        pack(source, PLAN, out, 1, bar=False)
    names = contents(out)
    assert "pairs-00000-of-00003.array_record" in names and "manifest.json" not in names

    def counting(source, plan, number, *rest):
        packed.append(number)
        return whole(source, plan, number, *rest)

    monkeypatch.setattr(packing, "pack_shard", counting)
    with pytest.raises(PackingError, match="begun with other options"):
        pack(source, Plan(ITEMS, PLAN.given, resize=8, vocab="scenes"), out, 1, bar=False)
    pack(source, PLAN, out, 1, bar=False)
    assert packed == [0, 1, 2]
    pack(source, PLAN, tmp_path / "out", 1, bar=False)
    assert contents(out) == contents(tmp_path / "out")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of the configuration
def test_from_the_command_line(bucket, source, cache_dir, monkeypatch, capsys):
    flags = {
        "root": f"{bucket.address}/in",
        "source": "json",
        "train_files": "a.json",
        "max_bad_share": 0.2,
    }
    config = [f"--config.data.{name}={value}" for name, value in flags.items()]
    config += [f"--config.storage.cache_dir={cache_dir}", "--config=configs/pretrain.py:demo"]
    out = f"{bucket.address}/out"
    monkeypatch.setattr("sys.argv", ["pack_dataset", f"--out={out}", *config[::-1]])
    assert main() == 0
    printed = capsys.readouterr().out
    assert f"{out}: 8 of 9 items in 1 shards" in printed
    assert f"all are listed in {out}/bad_samples.jsonl" in printed
    assert "pairs-00000-of-00001.array_record" in contents(BucketPath(out))
