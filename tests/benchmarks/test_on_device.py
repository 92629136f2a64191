"""The command for a card that is lent for minutes: parts that fail, and what a profile says."""

import gzip
import json
import sys

import pytest

from benchmarks import on_device
from benchmarks.kernels import find_trace, heaviest
from benchmarks.on_device import Part, measure, rows


def printing(line: str) -> Part:
    return Part(("-c", f"print({line!r})"), 0)


STEP = {
    "batch": 64,
    "image_size": 256,
    "variants": {
        "fused": {"step_s": 0.1, "pairs_per_s": 640.0, "mfu": 0.25, "memory_gib": 8.5},
        "plain": {"step_s": 0.2, "pairs_per_s": 320.0, "mfu": None, "memory_gib": 9.0},
    },
}


@pytest.fixture
def parts(monkeypatch):
    found = {
        "step": printing(json.dumps(STEP)),
        "broken": Part(("-c", "import sys; sys.exit('no such kernel')"), 0),
        "hanging": Part(("-c", "import time; time.sleep(60)"), 0),
        "last": printing('{"encoders": {"image": {"per_s": 7.0, "mfu": 0.5}}}'),
        "long": printing("{}")._replace(least=10_000),
    }
    monkeypatch.setattr(on_device, "PARTS", found)
    monkeypatch.setattr(on_device, "_SHARE", 0.1)
    return found


def test_a_part_that_fails_stops_no_other(parts, tmp_path):
    out = tmp_path / "found.json"
    found = measure(list(parts), 30, out)
    assert found["step"]["variants"] == STEP["variants"]
    assert "no such kernel" in found["broken"]["failed"]
    assert "took longer than" in found["hanging"]["failed"]
    assert found["last"]["encoders"]["image"]["per_s"] == 7.0
    assert "not started" in found["long"]["failed"]
    assert json.loads(out.read_text()) == found
    table = "\n".join(rows(found))
    assert "64 x 256 px fused" in table and "100.0    640.0  25.0%    8.5" in table
    assert "image encoder" in table
    assert "broken" in table and "FAILED: no such kernel" in table


def test_every_part_is_a_command_that_is_there():
    for part in on_device.PARTS.values():
        assert part.command[0] == "-m"
        assert (
            part.command[1] == "pytest"
            or (on_device.ROOT / "benchmarks")
            .joinpath(f"{part.command[1].removeprefix('benchmarks.')}.py")
            .is_file()
        )


def trace(folder, events):
    path = folder / "plugins" / "profile" / "now" / "perfetto_trace.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    return path


def test_kernels_of_devices_are_added_up(tmp_path):
    events = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        *({"ph": "X", "pid": 1, "name": "gemm", "dur": 500.0} for _ in range(4)),
        *({"ph": "X", "pid": 1, "name": "copy", "dur": 250.0} for _ in range(2)),
        {"ph": "X", "pid": 2, "name": "python", "dur": 9e9},
    ]
    path = trace(tmp_path, events)
    assert find_trace(tmp_path) == path
    assert heaviest(path, steps=2) == {
        "busy_ms_a_step": 1.25,
        "kernels_a_step": 3,
        "heaviest": [
            {"kernel": "gemm", "ms_a_step": 1.0, "calls_a_step": 2.0},
            {"kernel": "copy", "ms_a_step": 0.25, "calls_a_step": 1.0},
        ],
    }


def test_a_folder_without_a_trace_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no perfetto_trace"):
        find_trace(tmp_path)


def test_this_interpreter_runs_the_parts(parts, tmp_path):
    parts["step"] = Part(("-c", "import json, sys; print(json.dumps({'who': sys.executable}))"), 0)
    assert measure(["step"], 30, tmp_path / "o.json")["step"]["who"] == sys.executable
