"""A workdir belongs to one configuration."""

import json

import pytest

from albef_jax.checkpoints.workdir import flatten, open_workdir
from albef_jax.config import ConfigError, default


def test_writes_the_configuration(tmp_path):
    path = open_workdir(tmp_path / "new" / "run", default())
    saved = json.loads((path / "config.json").read_text())
    assert saved["train"]["queue_size"] == 65536


def test_same_configuration_continues(tmp_path):
    assert open_workdir(tmp_path, default()) == open_workdir(tmp_path, default())


def test_free_knobs_may_change(tmp_path):
    open_workdir(tmp_path, default())
    config = default()
    config.log.every_steps = 7
    config.data.threads = 3
    open_workdir(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["log"]["every_steps"] == 7


def test_other_configuration_is_refused_with_its_keys(tmp_path):
    open_workdir(tmp_path, default())
    config = default()
    config.optimizer.lr = 3e-4
    config.train.alpha = 0.1
    with pytest.raises(ConfigError) as error:
        open_workdir(tmp_path, config)
    assert "optimizer.lr: 0.0001 there, 0.0003 now" in str(error.value)
    assert "train.alpha: 0.4 there, 0.1 now" in str(error.value)
    assert json.loads((tmp_path / "config.json").read_text())["train"]["alpha"] == 0.4


def test_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: not JSON"):
        open_workdir(tmp_path, default())


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
