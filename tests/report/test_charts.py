import math

import pytest

from albef_jax.report.charts import MAX_POINTS, Curve, Panel, draw, points, svg_path

PANEL = Panel("Loss", (Curve("loss", "total"),))


def steps(*values):
    return [{"step": 10 * (n + 1), "loss": value} for n, value in enumerate(values)]


def test_points_are_steps_and_values_in_the_panels_unit():
    share = Panel("Wait, %", (Curve("loss", "wait"),), scale=100)
    assert points(steps(0.5, 0.25), "loss", share) == [(10, 50), (20, 25)]


@pytest.mark.parametrize("unusable", [None, math.nan, math.inf])
def test_an_unusable_value_is_a_gap(unusable):
    assert points(steps(1.0, unusable, 3.0), "loss", PANEL) == [(10, 1), (20, None), (30, 3)]


def test_a_missing_value_is_a_gap():
    assert points([{"step": 1}, {"step": 2, "loss": 4.0}], "loss", PANEL) == [(1, None), (2, 4)]


def test_zero_is_a_gap_on_a_log_axis_only():
    log = Panel("Loss", PANEL.curves, log=True)
    assert points(steps(0.0), "loss", log) == [(10, None)]
    assert points(steps(0.0), "loss", PANEL) == [(10, 0)]


def test_many_lines_are_averaged_to_few_points():
    lines = [{"step": n, "loss": float(n % 2)} for n in range(10 * MAX_POINTS)]
    found = points(lines, "loss", PANEL)
    assert len(found) == MAX_POINTS
    assert {value for _, value in found} == {0.5}
    assert found[0][0] == 4.5


def test_path_breaks_at_gaps_and_shows_lone_points():
    places = [(0, 1.0), (1, 2.0), (2, None), (3, 4.0), (4, None)]
    assert svg_path(places) == "M0,1h0L1,2M3,4h0"


def test_a_chart_stays_inside_its_frame_with_large_values_on_top():
    (chart,) = draw([PANEL], steps(1.0, 9.0, 4.0))
    pairs = chart.curves[0].path.replace("h0", "").removeprefix("M").split("L")
    places = [tuple(map(float, pair.split(","))) for pair in pairs]
    assert all(0 < x < chart.width and 0 < y < chart.height for x, y in places)
    assert places[1][1] < places[2][1] < places[0][1]
    assert chart.curves[0].end == places[-1]
    assert (chart.curves[0].first, chart.curves[0].last) == ("1", "4")


def test_ticks_are_placed_where_their_values_are():
    (chart,) = draw([PANEL], steps(0.0, 10.0))
    top = next(tick for tick in chart.y_ticks if tick.label == "10")
    assert chart.curves[0].end[1] == top.at


def test_zero_starts_the_axis_when_asked():
    from_zero = Panel("Loss", PANEL.curves, zero=True)
    free, fixed = draw([PANEL, from_zero], steps(90.0, 95.0))
    assert free.y_ticks[0].label == "90"
    assert fixed.y_ticks[0].label == "0"


def test_panels_and_curves_without_numbers_are_left_out():
    two = Panel("Two", (Curve("loss", "total"), Curve("other", "other")))
    none = Panel("None", (Curve("other", "other"),))
    charts = draw([two, none], steps(1.0, None))
    assert [chart.title for chart in charts] == ["Two"]
    assert [curve.name for curve in charts[0].curves] == ["total"]


def test_no_lines_no_charts():
    assert draw([PANEL], []) == []


def test_one_line_is_a_chart_with_a_dot():
    (chart,) = draw([PANEL], steps(7.0))
    assert chart.curves[0].path.endswith("h0")
