import gzip
import json

import pytest

from albef_jax.data.annotations.files import read_json


def test_lines_and_compressed_files(tmp_path):
    items = [{"a": 1}, {"a": "é"}]
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n\n"
    whole = json.dumps(items)
    for name, data in (
        ("a.json", whole.encode()),
        ("bom.json", whole.encode("utf-8-sig")),
        ("a.JSON.gz", gzip.compress(whole.encode())),
        ("a.jsonl", lines.encode()),
        ("bom.jsonl", lines.encode("utf-8-sig")),
        ("a.ndjson.gz", gzip.compress(lines.encode())),
    ):
        (tmp_path / name).write_bytes(data)
        assert read_json(tmp_path / name) == items, name


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a"\n', r"a\.jsonl, line 2: not JSON"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', r"not JSON .*ends in \.jsonl"),
        ("a.json", b"image,caption\n1.jpg,a", "not JSON .*one JSON list"),
        ("a.json.gz", b"[]", "not a whole gzip file"),
        ("a.json.gz", gzip.compress(b"[" + b"1," * 9999, mtime=0)[:-20], "not a whole gzip file"),
        ("a.jsonl", b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / name)
