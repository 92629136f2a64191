"""The picture of a run's scores."""

import json

import pytest

from albef_jax.workdir.trajectory import Judged, write
from benchmarks.curve import main


@pytest.fixture
def workdir(tmp_path):
    write(
        tmp_path,
        [Judged(10, 1.0, {"accuracy": 50.0, "other": None}), Judged(20, 2.0, {"accuracy": 60.0})],
    )
    lines = [{"step": step, "loss": 1 / step} for step in (5, 10, 20)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_equal_figures_give_equal_pictures(workdir, capsys):
    for name in ("a.svg", "b.svg"):
        assert main([str(workdir), "--scores", "accuracy", f"--out={workdir / 'docs' / name}"]) == 0
    first, second = ((workdir / "docs" / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"accuracy (%)" in first
    assert "b.svg" in capsys.readouterr().out


def test_what_is_not_there_is_told(workdir, tmp_path, capsys):
    assert main([str(workdir), "--scores", "recall", "--out=a.svg"]) == 1
    assert "no score recall; there are accuracy, other" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--out=a.svg"]) == 1
    assert "set evaluation.every" in capsys.readouterr().err
