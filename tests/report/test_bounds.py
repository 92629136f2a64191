import math

import pytest

from albef_jax.report.bounds import BOUNDS, with_bounds
from albef_jax.report.charts import draw

CONFIG = {
    "task": "pretrain",
    "train": {"queue_size": 60, "contrast_group": 4},
    "model": {"vocab_size": 100},
}


def test_guessing_gives_a_bound_of_zero_and_no_loss_log_k():
    blind = {"step": 1, "loss_itc": math.log(64), "loss_mlm": math.log(100)}
    sure = {"step": 2, "loss_itc": 0.0, "loss_mlm": 0.0}
    first, last = with_bounds([blind, sure], CONFIG)
    assert first["bound_itc"] == first["bound_mlm"] == 0
    assert last["bound_itc"] == pytest.approx(math.log(64))
    assert last["bound_mlm"] == pytest.approx(math.log(100))


def test_the_chart_says_what_the_bounds_assume():
    (chart,) = draw(BOUNDS, with_bounds([{"step": 1, "loss_itc": 1.0, "loss_mlm": None}], CONFIG))
    assert [curve.name for curve in chart.curves] == ["image and caption (ITC)"]
    assert "alpha = 0" in chart.note and "soft targets" in chart.note


def test_other_tasks_have_no_bounds():
    lines = [{"step": 1, "loss_itc": 1.0}]
    assert with_bounds(lines, {**CONFIG, "task": "retrieval"}) == lines
    assert draw(BOUNDS, lines) == []
