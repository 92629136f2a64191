import json
import math

import pytest

from albef_jax.telemetry.writers import MetricsFile, human_line, read_lines


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_lines_are_strict_json(path):
    MetricsFile(path).write({"step": 1, "loss": math.nan, "lr": 1e-4, "mfu": None})
    assert path.read_text() == '{"step": 1, "loss": null, "lr": 0.0001}\n'


def test_appends(path):
    for step in (1, 2):
        MetricsFile(path).write({"step": step})
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_truncate_after_drops_what_will_be_written_again(path):
    file = MetricsFile(path)
    for step in (5, 10, 15):
        file.write({"step": step})
    file.truncate_after(10)
    file.write({"step": 15, "again": 1})
    assert read_lines(path) == [{"step": 5}, {"step": 10}, {"step": 15, "again": 1}]


def test_a_line_cut_off_by_a_crash_is_dropped(path):
    path.write_text('{"step": 5}\n{"step": 1')
    assert read_lines(path) == [{"step": 5}]
    MetricsFile(path).truncate_after(5)
    assert path.read_text() == '{"step": 5}\n'


def test_no_file_has_no_lines(path):
    assert read_lines(path) == []
    MetricsFile(path).truncate_after(0)
    assert json.loads("[]") == read_lines(path)


@pytest.mark.parametrize(("eta", "clock"), [(9, "0:09"), (190, "3:10"), (3725, "1:02:05")])
def test_human_line(eta, clock):
    metrics = {
        "step": 20,
        "loss": 7.25,
        "loss_itc": 4.0,
        "loss_mlm": 2.6,
        "loss_itm": 0.65,
        "pairs_per_s": 81.4,
        "data_wait": 0.013,
    }
    line = human_line(metrics, 400, eta)
    assert line.startswith("step 20/400  loss 7.250 (itc 4.000 mlm 2.600 itm 0.650)")
    assert line.endswith(f"81 pairs/s  wait 1 %  ETA {clock}")
