import json
import math
import sys
from types import SimpleNamespace

import pytest

from albef_jax.observability import metrics
from albef_jax.observability.metrics import MetricsFile, human_line, open_writers, read_lines


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


class Sent:
    """Stands in for the package wandb: keeps what a run is given."""

    def __init__(self):
        self.opened, self.lines, self.finished = [], [], 0

    def init(self, **options):
        self.opened.append(options)
        return self

    def log(self, metrics, step):
        self.lines.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    fake = Sent()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def write_run(workdir, option, start, steps):
    out = open_writers(option, workdir, start)
    for step in steps:
        out.write({"step": step, "loss": 1.0 + step})
    out.close()


def test_a_run_at_wandb_is_continued_and_no_step_is_sent_twice(tmp_path, wandb):
    (tmp_path / "config.json").write_text('{"seed": 3}')
    write_run(tmp_path, "wandb", 0, (5, 10, 15))
    write_run(tmp_path, "wandb", 10, (15, 20))
    assert [step for step, _ in wandb.lines] == [5, 10, 15, 20]
    assert wandb.lines[-1] == (20, {"loss": 21.0})
    first, second = wandb.opened
    assert first["id"] == second["id"] and second["resume"] == "allow"
    assert first["config"] == {"seed": 3} and first["name"] == tmp_path.name
    assert wandb.finished == 2
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [5, 10, 15, 20]


def test_wandb_that_comes_later_gets_every_step(tmp_path, wandb):
    write_run(tmp_path, "", 0, (5, 10, 15))
    write_run(tmp_path, "wandb", 10, (15,))
    assert [step for step, _ in wandb.lines] == [15]


def test_tensorboard_hides_what_is_written_anew(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, directory, purge_step):
            written.append((directory, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

        close = flush

    fake = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    write_run(tmp_path, " tensorboard,", 0, (5,))
    write_run(tmp_path, "tensorboard", 5, (10,))
    directory = str(tmp_path / "tensorboard")
    assert written == [(directory, None), ("loss", 6.0, 5), (directory, 6), ("loss", 11.0, 10)]


def test_the_real_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    write_run(tmp_path, "tensorboard", 0, (5,))
    write_run(tmp_path, "tensorboard", 5, (10,))
    files = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert any(b"loss" in file.read_bytes() for file in files)


def test_other_processes_write_nothing(tmp_path):
    write_run(tmp_path, None, 0, (5,))
    assert not list(tmp_path.iterdir())


def test_unknown_and_missing_writers_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    (unknown, missing) = metrics.problems("tensorbord, wandb")
    assert "tensorbord is unknown; choose among tensorboard, wandb" in unknown
    assert "pip install 'albef-jax[wandb]'" in missing
    assert not list(metrics.problems(""))
