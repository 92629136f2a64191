import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.prepare.from_config import open_pairs
from albef_jax.data.prepare.plan import PackingError
from albef_jax.data.shards.array_record import ArrayRecordPairs
from tools.pack_dataset import main, summary

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # its loader


@pytest.fixture
def pack(monkeypatch, capsys):
    """Run the command; its exit code, what it printed, and its errors."""

    def run(*arguments):
        command = ["pack_dataset", "--config", f"{ROOT}/configs/pretrain.py:demo", *arguments]
        monkeypatch.setattr("sys.argv", command)
        return main(), *capsys.readouterr()

    return run


def test_the_built_in_world_is_packed_and_a_change_of_options_is_refused(tmp_path, pack):
    out = tmp_path / "out"
    flags = [f"--out={out}", "--config.data.scenes.train_size=200", "--shard_size=150"]
    code, printed, _ = pack(*flags, "--licence=CC0")
    assert code == 0
    assert "200 of 200 items in 2 shards" in printed
    pairs = ArrayRecordPairs(sorted(out.glob("pairs-*")))
    assert pairs[199].name == "scenes/train/199"
    assert json.loads((out / "manifest.json").read_bytes())["licence"] == "CC0"
    code, _, errors = pack(*flags, "--licence=CC0", "--resize=32")
    assert code == 2
    assert "error:   resize: 0 before, 32 now" in errors


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("--config.data.source=jsn", "did you mean 'json'?"),
        ("--rezise=3", "Unknown command line flag 'rezise'"),
        ("--shard_size=0", "--shard_size=0: must be greater than 0"),
        ("stray", "unexpected arguments: stray"),
    ],
)
def test_a_mistake_is_a_line_and_nothing_is_written(tmp_path, pack, mistake, message):
    code, _, errors = pack(f"--out={tmp_path / 'out'}", mistake)
    assert code == 2
    assert message in errors and errors.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_too_many_bad_items_give_an_exit_code_but_whole_shards(tmp_path, pack):
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"")
    items = [{"image": f"{number}.png", "caption": "a dog"} for number in range(2)]
    (tmp_path / "a.json").write_text(json.dumps(items), "utf-8")
    json_data = [
        "--config.data.source=json",
        f"--config.data.root={tmp_path}",
        "--config.data.train_files=a.json",
    ]
    code, printed, errors = pack(f"--out={tmp_path / 'out'}", *json_data)
    assert code == 1
    assert "1 x the file is empty (0 bytes)" in printed
    assert "more than data.max_bad_share=0.01 allows" in errors
    assert len(ArrayRecordPairs(list((tmp_path / "out").glob("*.array_record")))) == 1


def shards_of(tmp_path, word):
    """The same captions in lists and in a tar; another word of equal length changes no size."""
    items = [{"image": "0.png", "caption": f"a {word}"}]
    (tmp_path / "big.JSON").write_text(json.dumps(items), "utf-8")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name, data in (
            ("0.png", (tmp_path / "0.png").read_bytes()),
            ("0.txt", items[0]["caption"].encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    for name in ("big.JSON", "0.tar"):
        os.utime(tmp_path / name, ns=(5, 5))


@pytest.mark.parametrize(("kind", "files"), [("json", "big.JSON"), ("webdataset", "0.tar")])
def test_another_input_of_equal_size_and_time_is_refused(tmp_path, pack, kind, files):
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "0.png")
    flags = [
        f"--out={tmp_path / 'out'}",
        f"--config.data.source={kind}",
        f"--config.data.root={tmp_path}",
        f"--config.data.train_files={files}",
    ]
    shards_of(tmp_path, "dog")
    assert pack(*flags)[0] == 0
    assert pack(*flags)[0] == 0  # the same once more
    shards_of(tmp_path, "cat")
    code, _, errors = pack(*flags)
    assert code == 2
    assert "was begun with other options or data" in errors and "sha256" in errors


def test_a_mixture_is_packed_part_by_part():
    config = default()
    config.data.mixture = ({"name": "a", "source": "scenes"},)
    with pytest.raises(PackingError, match="pack its parts one by one"):
        open_pairs(config, "train")


@pytest.fixture
def manifest():
    return {
        "items": 10,
        "records": 8,
        "captions": 9,
        "bytes": 2**31,
        "shards": [{}, {}],
        "bad": 2,
        "bad_reasons": {"the file is empty": 2},
        "images_under_several_names": 3,
        "same_item_again": 4,
    }


def test_the_summary_says_what_is_missing_and_what_is_there_twice(manifest):
    text = summary(manifest, Path("out"))
    assert "8 of 10 items in 2 shards, 2.00 GiB, 9 captions" in text
    assert "2 x the file is empty" in text and "bad_samples.jsonl" in text
    assert "3 images have several names" in text and "duplicates.jsonl" in text
    assert "4 records repeat an image" in text


def test_the_summary_of_clean_data_is_one_line(manifest):
    manifest |= {"bad": 0, "images_under_several_names": 0, "same_item_again": 0}
    assert len(summary(manifest, Path("out")).splitlines()) == 1
