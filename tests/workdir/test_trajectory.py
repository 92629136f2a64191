"""The record of what was judged while training."""

import json

import pytest

from albef_jax.errors import ConfigError
from albef_jax.workdir.trajectory import Judged, best, best_step, finite, read, write

STEPS = [
    Judged(10, 1.0, {"accuracy": 50.0, "recall": None}),
    Judged(20, 2.0, {"accuracy": 70.0, "recall": None}),
    Judged(30, 3.0, {"accuracy": 70.0, "recall": 1.0}),
]


def test_what_is_written_is_read(tmp_path):
    assert read(tmp_path) == []
    write(tmp_path, STEPS)
    assert read(tmp_path) == STEPS
    assert read(tmp_path, up_to=20) == STEPS[:2]


def test_the_earliest_of_equal_scores_is_the_best():
    assert best(STEPS, "accuracy") == STEPS[1]
    assert best(STEPS, "recall") == STEPS[2]
    assert best(STEPS, "unknown") is None
    assert best([], "accuracy") is None


def test_what_is_not_finite_has_no_score():
    found = finite({"a": 1.0, "b": float("nan"), "c": float("inf")})
    assert found == {"a": 1.0, "b": None, "c": None}


@pytest.mark.parametrize("text", ["{", '{"step": 1}\n', "[1, 2]\n"])
def test_a_damaged_record_is_told(text, tmp_path):
    (tmp_path / "validation.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=r"validation\.jsonl: damaged"):
        read(tmp_path)


def test_a_run_says_which_step_it_chose(tmp_path):
    assert best_step(tmp_path) is None
    write(tmp_path, STEPS)
    assert best_step(tmp_path) is None  # no configuration: not a run's directory
    for score, step in (("accuracy", 20), ("recall", 30), ("", None)):
        (tmp_path / "config.json").write_text(json.dumps({"checkpoint": {"best": score}}))
        assert best_step(tmp_path) == step
    (tmp_path / "config.json").write_text(json.dumps({"task": "pretrain"}))  # an older run
    assert best_step(tmp_path) is None
