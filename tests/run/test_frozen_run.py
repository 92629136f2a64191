"""A run with frozen parts: it goes on where it stopped, and others can start from it."""

import json

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers.tiny_run import scenes_config, task_config

pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")


def frozen_config():
    config = scenes_config(dropout=0.0, frozen="image_encoder,text_encoder:1,temperature")
    config.train.cached_views = 2
    config.data.augment = "official"
    return config


def start(config, workdir):
    validate(config)
    run(config, workdir, "the command", eval_only=False)
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def frozen(one_device, drawn_weights, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("frozen")
    return workdir, start(frozen_config(), workdir)


def test_what_is_saved_and_what_is_read(frozen):
    """The teacher's files lack what never moves; readers find it whole."""
    workdir, results = frozen
    assert results["step"] == 6
    step = workdir / "checkpoints" / "6"
    written = json.loads((step / "teacher" / "_METADATA").read_text())
    names = " ".join(written["tree_metadata"])
    assert "image_proj" in names
    assert "image_encoder" not in names
    found = read_checkpoint(workdir)
    assert found.teacher.keys() == found.params.keys() - {"itm_head", "temperature"}
    for name in ("image_encoder", "text_encoder"):
        jax.tree.map(np.testing.assert_array_equal, found.teacher[name], found.params[name])
    first = read_checkpoint(step.parent / "3")
    jax.tree.map(
        np.testing.assert_array_equal, first.params["image_encoder"], found.params["image_encoder"]
    )
    moved = first.params["itm_head"]["kernel"] != found.params["itm_head"]["kernel"]
    assert moved.all()


def test_a_stopped_run_goes_on_with_the_tokens_it_kept(frozen, tmp_path, capsys):
    """As `tests/run/test_resume.py` shows for the rest of the state."""
    whole, results = frozen
    config = frozen_config()
    for step in ("3",):
        target = tmp_path / "checkpoints" / step
        target.parent.mkdir(parents=True)
        (whole / "checkpoints" / step).rename(target)
    for name in ("config.json", "trained_on.json", "image_tokens.npy", "image_tokens.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    again = start(config, tmp_path)
    printed = capsys.readouterr().out
    assert "continuing from the checkpoint of step 3" in printed
    assert "image tokens: of" not in printed
    assert again["retrieval"] == results["retrieval"]


def test_another_task_starts_from_it(frozen, tmp_path):
    config = task_config("retrieval", dropout=0.0)
    config.init.checkpoint = str(frozen[0])
    validate(config)
    config.train.frozen = "text_encoder"
    assert start(config, tmp_path)["step"] == 4
