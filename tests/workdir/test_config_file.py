"""A workdir belongs to one configuration."""

import json

import pytest

from albef_jax.config.defaults import default
from albef_jax.errors import ConfigError
from albef_jax.workdir.config_file import flatten, open_workdir


def test_writes_the_configuration(tmp_path):
    path = open_workdir(tmp_path / "new" / "run", default())
    saved = json.loads((path / "config.json").read_text())
    assert saved["train"]["queue_size"] == 65536


def test_same_configuration_continues(tmp_path):
    assert open_workdir(tmp_path, default()) == open_workdir(tmp_path, default())


def test_free_options_may_change(tmp_path):
    open_workdir(tmp_path, default())
    config = default()
    config.log.every_steps = 7
    config.data.threads = 3
    open_workdir(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["log"]["every_steps"] == 7


def begun(path):
    """As after a run that saved a step."""
    (path / "checkpoints" / "5").mkdir(parents=True)
    return path


def other():
    config = default()
    config.optimizer.lr = 3e-4
    return config


@pytest.mark.parametrize("left", ["", "checkpoints/7.orbax-checkpoint-tmp"])
def test_a_start_that_saved_nothing_binds_nobody(tmp_path, left):
    open_workdir(tmp_path, default())
    (tmp_path / left).mkdir(parents=True, exist_ok=True)
    (tmp_path / "bad_samples.jsonl").write_text('{"name": "wrong/a.jpg", "reason": "none"}\n')
    open_workdir(tmp_path, default())
    assert (tmp_path / "bad_samples.jsonl").exists()
    open_workdir(tmp_path, other())
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["lr"] == 3e-4
    # They would count as images of the data that are right now.
    assert not (tmp_path / "bad_samples.jsonl").exists()
    assert (tmp_path / "bad_samples.jsonl.before").exists()


def test_an_evaluation_binds(tmp_path):
    open_workdir(tmp_path, default())
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        open_workdir(tmp_path, other())


def test_other_configuration_is_refused_with_its_keys(tmp_path):
    open_workdir(begun(tmp_path), default())
    config = default()
    config.optimizer.lr = 3e-4
    config.train.alpha = 0.1
    with pytest.raises(ConfigError) as error:
        open_workdir(tmp_path, config)
    assert "optimizer.lr: 0.0001 there, 0.0003 now" in str(error.value)
    assert "train.alpha: 0.4 there, 0.1 now" in str(error.value)
    assert json.loads((tmp_path / "config.json").read_text())["train"]["alpha"] == 0.4


def test_damaged_configuration_is_named(tmp_path):
    begun(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: not JSON"):
        open_workdir(tmp_path, default())


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
