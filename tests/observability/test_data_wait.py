import pytest

from albef_jax.observability.data_wait import DataWait, available_cores, cores_to_keep_up


@pytest.mark.parametrize(
    ("wait", "busy", "needed"),
    [(0.0, 4, 4), (0.5, 4, 8), (0.34, 2, 4), (0.75, 8, 32), (1.0, 2, 200)],
)
def test_cores_that_would_keep_up(wait, busy, needed):
    assert cores_to_keep_up(wait, busy) == needed


def said(waits, threads=8, cores=8):
    watch = DataWait(threads, cores)
    return [watch.seen(wait) for wait in waits]


def test_it_is_said_once_after_three_lines_over_the_threshold():
    told = said([0.4, 0.5, 0.6, 0.6, 0.6, 0.6])
    assert [line is not None for line in told] == [False, False, True, False, False, False]
    assert "waits for data 50% of the time" in told[2]
    assert "about 16 cores would feed it; this host has 8" in told[2]


def test_short_waits_and_interrupted_ones_are_not_told():
    assert not any(said([0.05] * 10))
    assert not any(said([0.9, 0.9, 0.01] * 5))


def test_the_remedy_fits_the_host():
    assert "raise data.threads: let 4 read, not 2" in said([0.5] * 3, 2, 4)[2]
    assert "raise data.threads: let 3 read, not 2" in said([0.5] * 3, 2, 3)[2]
    assert "--resize" in said([0.5] * 3, 8, 4)[2]
    assert "data.workers" in said([0.5] * 3, 8, 4)[2]


def test_this_host_has_a_core():
    assert available_cores() >= 1
