"""Options that are `auto` become plain values, which a run keeps."""

import json

import jax
import pytest
from jax.sharding import AbstractMesh

from albef_jax.config.auto import asked, use_auto, values
from albef_jax.config.defaults import default, model_config
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.distributed.accelerators import OFFERS
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import ConfigError
from albef_jax.tasks.shared.settle import choices, settled
from albef_jax.tasks.shared.sketch import estimator, sketch
from albef_jax.workdir.config_file import open_workdir
from tests.helpers.tiny_run import scenes_config, task_config

TRAINED = [task for task in TASKS if task_spec(task).trains]


@pytest.fixture
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def auto_config(**train):
    config = scenes_config(**train)
    use_auto(config)
    return config


def tiny(task):
    return scenes_config() if task == "pretrain" else task_config(task)


@pytest.mark.parametrize("task", TRAINED)
def test_a_sketch_needs_no_files_and_has_the_shapes(task):
    config = tiny(task)
    config.data.source = "json"  # of files that are not there
    config.data.train_files = "none.json"
    config.data.root = "nowhere"
    made = sketch(config, values(config))
    assert made.batch_size == config.train.batch_size
    assert made.row_shapes()["text_ids"].shape == (config.data.text_len,)
    assert made.model.image_size == config.model.image_size
    assert config.data.source == "json"


@pytest.mark.parametrize("asked_for", [False, True])
def test_image_ids_flow_through_pretraining_if_asked_for(asked_for, mesh):
    config = scenes_config(same_image_positives=asked_for)
    made = sketch(config, values(config))
    state = jax.eval_shape(made.init_state)
    assert (state.queue.image_id is not None) == asked_for == ("image_id" in made.inputs)
    assert made.memory(mesh, state).kept > 0  # the step can be traced


def test_the_estimate_follows_devices_that_are_not_there():
    config = scenes_config()
    one, four = (
        estimator(config, AbstractMesh((n, 1), ("data", "fsdp")))(values(config)) for n in (1, 4)
    )
    assert four.state == one.state
    assert four.kept == pytest.approx(one.kept / 4, abs=1)


def test_a_run_gets_plain_values_and_prints_each(tmp_path, capsys, mesh):
    config = auto_config()
    plain = settled(config, mesh, tmp_path)
    assert json.loads(plain.to_json()) == json.loads(scenes_config().to_json())
    assert len(asked(config)) == 6  # which stays as it was
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("=")[0] for line in lines] == [f"auto: {name}" for name in asked(config)]
    assert plain.is_locked
    assert settled(plain, mesh, tmp_path) is plain


def test_a_run_keeps_what_it_began_with(tmp_path, capsys, mesh):
    """As after a start on a card."""
    begun = scenes_config()
    begun.model.update({"dtype": "bfloat16", "remat_image": "dots"})
    begun.train.microbatches = 2
    open_workdir(tmp_path, begun)
    assert values(settled(auto_config(), mesh, tmp_path)) == values(scenes_config())
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    config = settled(auto_config(), mesh, tmp_path)
    assert values(config) == values(begun)
    assert "auto: train.microbatches=2: as this run began (config.json)" in capsys.readouterr().out
    open_workdir(tmp_path, config)  # is the same


def test_models_are_not_made_of_auto():
    with pytest.raises(ConfigError, match=r"model\.dtype, model\.attention.*still auto"):
        model_config(auto_config())


def test_a_task_without_training():
    config = default("zero_shot")
    use_auto(config)
    mesh = AbstractMesh((8, 1), ("data", "fsdp"))
    found = {one.option: one.value for one in choices(config, OFFERS["h100"].device, mesh)}
    assert found["model.dtype"] == "bfloat16" and found["train.microbatches"] == 1
