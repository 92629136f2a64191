import json
import sys

import pytest

from albef_jax.config.defaults import default
from albef_jax.config.none_flags import OPTIONAL, without_none
from albef_jax.config.tasks import TASKS
from tools import check_data


def test_all_options_that_may_be_none():
    for task in TASKS:
        tree = json.loads(default(task).to_json())
        none = {f"{a}.{b}" for a, part in tree.items() if isinstance(part, dict) for b in part}
        none = {name for name in none if tree[name.split(".")[0]][name.split(".")[1]] is None}
        assert none == set(OPTIONAL)


@pytest.mark.parametrize(
    ("given", "rest", "emptied"),
    [
        (["--config.train.steps=None"], [], ["train.steps"]),
        (["-config.train.steps", "none", "x"], ["x"], ["train.steps"]),
        (["--config.train.steps=None", "--config.train.steps=5"], ["--config.train.steps=5"], []),
        (["--config.data.root=None"], ["--config.data.root=None"], []),
        (["--config.train.steps", "7"], ["--config.train.steps=7"], []),
    ],
)
def test_none_is_taken_out(given, rest, emptied):
    assert without_none(given) == (rest, emptied)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_none_on_the_command_line_of_a_tool(monkeypatch, capsys):
    """The demo has `train.steps`; without them epochs count."""
    seen = []
    monkeypatch.setattr(check_data, "run", lambda given, config: seen.append(config) or 0)
    command = ["check_data", "--config", "configs/pretrain.py", "--config.train.steps=None"]
    monkeypatch.setattr(sys, "argv", command)
    assert check_data.main() == 0, capsys.readouterr().err
    assert seen[0].train.steps is None
