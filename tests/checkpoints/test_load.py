"""One model read from every kind of checkpoint; and what is none."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import NamedSharding, PartitionSpec

from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.torch_format import reader
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import CheckpointError
from albef_jax.models import task_models
from albef_jax.models.config import ModelConfig

TINY = Path(__file__).parents[1] / "golden" / "tiny"
FILES = {
    "pretrain": "pretrain",
    "retrieval": "retrieval",
    "entailment": "ve",
    "vqa": "vqa",
    "nlvr": "nlvr",
    "nlvr_pretrain": "pretrain_nlvr",
}
ALL = pytest.mark.parametrize("task", FILES)


def golden(task):
    return TINY / f"{FILES[task]}.pth"


def official(task):
    return state_dict.from_official(reader.read_state_dict(golden(task)), task=task)


def items(task, step):
    """As `train.state` keeps them."""
    model = official(task)
    moments = [jax.tree.map(np.ones_like, model.params)]
    train = {"opt_state": moments, "key": jax.random.key(0), "step": jnp.int32(step)}
    if model.queues:
        train["queue"] = jax.tree.map(jnp.asarray, model.queues)
    return {
        "params": model.params,
        **({"teacher": model.teacher} if model.teacher else {}),
        "train": train,
    }


def save(workdir, task="pretrain", steps=(7,)):
    with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
        for step in steps:
            checkpoints.save(step, jax.tree.map(jnp.asarray, items(task, step)))
    (workdir / "config.json").write_text(json.dumps({"task": task, "seed": 3}))
    return workdir


def assert_holds(found, task):
    model = official(task)
    for tree, expected in (
        (found.params, model.params),
        (found.teacher, model.teacher),
        (found.queues, model.queues),
    ):
        jax.tree.map(np.testing.assert_array_equal, tree, expected)
        assert all(isinstance(leaf, np.ndarray | int) for leaf in jax.tree.leaves(tree))
    assert found.task == task


@ALL
def test_a_official_file(task):
    found = read_checkpoint(str(golden(task)))
    assert_holds(found, task)
    assert (found.step, found.config, found.origin) == (None, None, golden(task))
    assert found.unused == []


def test_a_safetensors_file(tmp_path):
    state = dict(reader.read_state_dict(golden("vqa")))
    state["extra.weight"] = np.zeros(3, np.float32)
    copies = {name: np.array(array, order="C") for name, array in state.items()}
    safetensors.numpy.save_file(copies, tmp_path / "vqa.safetensors")
    found = read_checkpoint(tmp_path / "vqa.safetensors")
    assert_holds(found, "vqa")
    assert found.unused == ["extra.weight"]


@pytest.mark.parametrize("task", ["pretrain", "retrieval", "nlvr_pretrain"])
def test_a_workdir(tmp_path, task):
    found = read_checkpoint(save(tmp_path, task))
    assert_holds(found, task)
    assert found.step == 7
    assert found.config == {"task": task, "seed": 3}
    assert found.origin == (tmp_path / "checkpoints" / "7").resolve()


def test_a_directory_of_steps_and_a_step(tmp_path, monkeypatch):
    save(tmp_path, steps=(7, 9, 30))
    steps = tmp_path / "checkpoints"
    assert read_checkpoint(steps).step == 30
    assert read_checkpoint(steps / "9").step == 9
    assert read_checkpoint(steps / "9").config == {"task": "pretrain", "seed": 3}
    monkeypatch.chdir(steps / "9")
    found = read_checkpoint(".")
    assert found.origin == (steps / "9").resolve() and found.config is not None


@ALL
def test_without_a_configuration_the_parts_tell_the_task(tmp_path, task):
    parts = {name: {"bias": jnp.zeros(2)} for name in official(task).params}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(4, {"params": parts})
    found = read_checkpoint(tmp_path)
    assert found.task == task
    assert found.config is None and found.step is None
    assert found.teacher == found.queues == {}


def test_the_configuration_knows_grounding(tmp_path):
    save(tmp_path, "retrieval")
    (tmp_path / "config.json").write_text('{"task": "grounding"}')
    assert read_checkpoint(tmp_path).task == "grounding"


def test_unfinished_steps_are_passed_over(tmp_path):
    save(tmp_path)
    steps = tmp_path / "checkpoints"
    shutil.copytree(steps / "7", steps / "9.orbax-checkpoint-tmp")
    (steps / "8").mkdir()
    assert read_checkpoint(tmp_path).step == 7


def test_arrays_cut_over_devices_come_back_whole(tmp_path):
    mesh = make_mesh(fsdp=4, devices=jax.devices()[:8])
    tree = items("pretrain", 1)
    kernel = tree["params"]["image_encoder"]["blocks"]["qkv"]
    sharded = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    kernel["kernel"] = jax.device_put(kernel["kernel"], sharded)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, jax.tree.map(jnp.asarray, tree))
    assert_holds(read_checkpoint(tmp_path), "pretrain")


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file or directory; a check"):
        read_checkpoint(tmp_path / "absent.pth")


def test_a_directory_without_a_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"no checkpoint.*checkpoints/STEP/params") as error:
        read_checkpoint(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()].count("checkpoints") == 1


@pytest.mark.parametrize("name", ["notes.txt", "model.pth", "model.safetensors"])
def test_another_file(tmp_path, name):
    (tmp_path / name).write_text("neither of them, but long enough to be one of them")
    with pytest.raises(CheckpointError, match=f"{name}: not a"):
        read_checkpoint(tmp_path / name)


def test_the_weights_of_another_model(tmp_path):
    file = tmp_path / "resnet.safetensors"
    safetensors.numpy.save_file({"conv1.weight": np.zeros((2, 2), np.float32)}, file)
    with pytest.raises(CheckpointError, match=r"resnet\.safetensors: no .* names are conv1\.weig"):
        read_checkpoint(file)
    with Checkpoints(tmp_path / "other", keep=1) as checkpoints:
        checkpoints.save(2, {"params": {"encoder": jnp.zeros(2)}, "train": {"step": jnp.int32(2)}})
    with pytest.raises(CheckpointError, match="no model of ours; its parts are encoder"):
        read_checkpoint(tmp_path / "other")


def test_a_official_file_that_lacks_something(tmp_path):
    state = dict(reader.read_state_dict(golden("retrieval")))
    del state["vision_proj.bias"]
    copies = {name: np.array(array, order="C") for name, array in state.items()}
    safetensors.numpy.save_file(copies, file := tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: .* missing: vision_proj\.bias"):
        read_checkpoint(file)


@pytest.mark.parametrize("damage", ["_METADATA", "manifest.ocdbt"])
def test_a_damaged_step_is_named(tmp_path, damage):
    # one array, so that no other is still being read when the first fails
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(7, {"params": {"temperature": jnp.zeros(2)}})
    (tmp_path / "7" / "params" / damage).write_text("{")
    with pytest.raises(CheckpointError, match=rf"7: damaged: params/{damage} has 1 bytes instead"):
        read_checkpoint(tmp_path)
    (tmp_path / "7" / "files.json").unlink()  # as written by earlier versions
    with pytest.raises(CheckpointError, match=r"7/params: damaged, or no tree of arrays") as error:
        read_checkpoint(tmp_path)
    assert len(str(error.value)) < 600


def test_a_damaged_configuration_is_named(tmp_path):
    (save(tmp_path) / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        read_checkpoint(tmp_path)


@ALL
def test_sizes_follow_from_the_shapes(task):
    sizes = json.loads((TINY / "sizes.json").read_text())
    expected = {
        "image_stem": "patches",
        "image_size": sizes["image_res"],
        "patch_size": sizes["patch_size"],
        "image_width": sizes["vit_dim"],
        "image_depth": sizes["vit_depth"],
        "text_width": sizes["hidden_size"],
        "text_depth": sizes["fusion_layer"],
        "text_intermediate": sizes["intermediate_size"],
        "fusion_depth": sizes["num_hidden_layers"] - sizes["fusion_layer"],
        "vocab_size": sizes["vocab_size"],
        "max_positions": sizes["max_position_embeddings"],
    }
    if task in ("pretrain", "retrieval", "nlvr_pretrain"):
        expected["embed_dim"] = sizes["embed_dim"]
    assert sizes_of(read_checkpoint(golden(task)).params) == expected


@pytest.mark.parametrize("stem", ["patches", "convolutions"])
@ALL
def test_sizes_tell_apart_what_differs(task, stem):
    expected = {
        "image_stem": stem,
        **{"image_size": 24, "patch_size": 8, "image_width": 16, "image_depth": 5},
        **{"text_width": 12, "text_depth": 3, "text_intermediate": 20, "fusion_depth": 2},
        **{"vocab_size": 30, "max_positions": 7, "embed_dim": 6},
    }
    config = ModelConfig(**expected, image_heads=2, text_heads=2)
    params = jax.eval_shape(lambda key: task_models.init(config, task, key), jax.random.key(0))
    found = sizes_of(params)
    assert found == {field: expected[field] for field in found}
    assert expected.keys() - found.keys() <= {"embed_dim"}


def test_sizes_of_a_part():
    assert sizes_of({}) == {}
    assert sizes_of({"image_proj": {"kernel": np.zeros((3, 5))}}) == {"embed_dim": 5}


@ALL
@pytest.mark.parametrize("wrapper", ["", "module.", "model."])
def test_names_that_other_code_gives(task, wrapper, tmp_path):
    """LAVIS and DataParallel: a wrapper around all names, `bert.` where it is not official."""
    state = reader.read_state_dict(golden(task))
    other = {}
    for name, array in state.items():
        for encoder in ("text_encoder.", "text_encoder_m."):
            if name.startswith(encoder) and not name.startswith(
                (f"{encoder}bert", f"{encoder}cls")
            ):
                name = f"{encoder}bert.{name.removeprefix(encoder)}"
        other[f"{wrapper}{name}"] = array
    assert task == "pretrain" or other.keys() != state.keys()
    safetensors.numpy.save_file(other, tmp_path / "other.safetensors")
    found, expected = read_checkpoint(tmp_path / "other.safetensors"), official(task)
    assert (found.task, found.unused) == (task, [])
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, found.teacher, expected.teacher)
