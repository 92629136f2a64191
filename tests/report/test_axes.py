import pytest

from albef_jax.report.axes import label, linear, logarithmic


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 400, [0, 100, 200, 300, 400]),
        (3.6, 13.5, [0, 5, 10, 15]),
        (0.0, 0.3, [0, 0.1, 0.2, 0.3]),
        (-1.2, 0.9, [-2, -1, 0, 1]),
        (0, 234_000, [0, 100_000, 200_000, 300_000]),
    ],
)
def test_linear_ticks_are_round_and_enclose_the_data(low, high, ticks):
    assert linear(low, high).ticks == pytest.approx(ticks)


@pytest.mark.parametrize("value", [7.3, -2.0, 0.0, 1e-9, 0.4])
def test_a_constant_gets_an_axis_that_holds_it(value):
    axis = linear(value, value)
    assert axis.ticks[0] <= value < axis.ticks[-1]
    assert 2 <= len(axis.ticks) <= 7


def test_values_equal_but_for_rounding_are_a_constant():
    assert len(linear(0.1, 0.1 + 2e-17).ticks) <= 7


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.25, 7.7, [0.2, 0.5, 1, 2, 5, 10]),
        (1.0, 1.0, [1, 2]),
        (0.002, 40.0, [0.001, 0.01, 0.1, 1, 10, 100]),
    ],
)
def test_log_ticks_enclose_the_data(low, high, ticks):
    assert logarithmic(low, high).ticks == pytest.approx(ticks)


def test_share_runs_from_first_to_last_tick():
    assert [linear(0, 400).share(value) for value in (0, 100, 400)] == [0, 0.25, 1]
    # On a log axis the middle is the geometric mean.
    assert logarithmic(0.1, 9.0).share(1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (0, "0"),
        (250, "250"),
        (50_000, "50,000"),
        (1e-5, "1e-5"),
        (0.0005, "0.0005"),
        (1e-12, "1e-12"),
    ],
)
def test_label(value, text):
    assert label(value) == text


def test_label_rounds_to_the_digits_asked_for():
    assert label(6.8317, 3) == "6.83"
    assert label(1234.5, 3) == "1,234"
