"""A run killed at any moment comes out as if nobody had disturbed it."""

import signal

import pytest

from tests.helpers.kill_runs import Child, assert_same, kill_runs, outcome


@pytest.mark.slow
def test_two_kills(tmp_path):
    kills = kill_runs(2, seed=4, directory=tmp_path)
    assert sum(kills.values()) == 2


@pytest.mark.slow
def test_fifty_kills(tmp_path):
    kills = kill_runs(50, seed=0, directory=tmp_path)
    assert sum(kills.values()) == 50
    assert all(kills.values()), "no kill at one of the moments"


def test_ten_kills_of_runs_in_a_bucket(tmp_path, bucket, monkeypatch):
    if bucket.kind == "gs":
        pytest.skip("among the slow tests")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kills = kill_runs(10, 3, tmp_path, bucket=bucket.address, preset="short")
    assert sum(kills.values()) == 10


@pytest.mark.slow
def test_fifty_kills_of_runs_in_a_bucket(tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kills = kill_runs(50, seed=0, directory=tmp_path, bucket=bucket.address)
    assert sum(kills.values()) == 50
    assert all(kills.values()), "no kill at one of the moments"


def test_a_difference_would_be_noticed():
    ours = {"params": {"kernel": [1.0, 2.0]}, "log": [{"loss": 3.0}]}
    assert_same(ours, {"params": {"kernel": [1.0, 2.0]}, "log": [{"loss": 3.0}]})
    for other in ([1.0, 2.0000001], [1.0]):
        with pytest.raises(AssertionError):
            assert_same(ours, {"params": {"kernel": other}, "log": [{"loss": 3.0}]})


@pytest.mark.slow
def test_a_graceful_stop_has_its_own_exit_code(tmp_path):
    child = Child(tmp_path / "run")
    assert child.wait_until(lambda: child.said("step "))
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 128 + signal.SIGTERM
    assert child.said("saved step")
    again = Child(tmp_path / "run")
    assert again.end() == 0 and again.said("continuing from the checkpoint of step")
    whole = Child(tmp_path / "whole")
    assert whole.end() == 0
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))
