"""Options that had other names: an error names the new one, and old runs are read."""

import json
from pathlib import Path

import pytest

from albef_jax.config import default
from albef_jax.config.renamed import OPTIONS, REMOVED, VALUES, hints, modernise, replacement
from albef_jax.config.tasks import TASKS
from albef_jax.errors import ConfigError
from albef_jax.validate import validate, value_of
from tests.helpers.command_line import refused

ROOT = Path(__file__).parents[2]
OLD = (*OPTIONS, *REMOVED)


def test_new_names_exist_and_old_ones_do_not():
    configs = [default(task) for task in TASKS]
    for new in OPTIONS.values():
        assert any(value_of(config, new) is not None for config in configs), new
    for old in OLD:
        assert all(value_of(config, old) is None for config in configs), old
    for option, old in VALUES:
        found = {value_of(config, option) for config in configs} - {None}
        assert VALUES[option, old] in found
        assert old not in found


def test_on_the_command_line(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    refused("--config=configs/pretrain.py", *(f"--config.{old}=5" for old in OLD))
    assert capsys.readouterr().err.splitlines() == [f"error: {replacement(old)}" for old in OLD]


@pytest.mark.parametrize("old", OLD)
def test_in_a_recipe(old):
    section, name = old.split(".")
    config = default()
    with pytest.raises((AttributeError, KeyError)) as error:
        config[section][name] = 5
    assert replacement(old) in hints(str(error.value.args[0]))
    with config.unlocked():
        if section not in config:
            config[section] = {}
        config[section][name] = 5
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert replacement(old) in str(error.value)


@pytest.mark.parametrize("option, old", VALUES)
def test_values(option, old):
    config = default("nlvr")
    section, name = option.split(".")
    config[section][name] = old
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert f"{option}={old!r} is now {VALUES[option, old]!r}" in str(error.value).splitlines()


def test_other_errors_get_no_hint():
    assert hints('Key "batchsize" does not exist') == []
    assert replacement("train.batch_size", "published") is None


def test_old_configurations_are_read_under_todays_names():
    config = json.loads(default("nlvr").to_json())
    old = json.loads(json.dumps(config))
    old["hosts"] = old.pop("distributed")
    old["data"] |= {"prefetch": 2, "augment": "published"}
    old["optimizer"]["schedule"] = old["init"]["teacher"] = "published"
    before = json.dumps(old)
    assert modernise(old) == config == modernise(config)
    assert json.dumps(old) == before
    pairs = modernise({"evaluation": {"pairs": 500, "rerank": 16}})
    assert pairs == {"evaluation": {"limit": 500, "rerank": 16}}
