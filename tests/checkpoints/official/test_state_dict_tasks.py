"""The names of every task's model: golden checkpoints, and the full-size lists of names."""

import json
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from albef_jax.models import albef, task_models
from albef_jax.models.config import ModelConfig

GOLDEN = Path(__file__).parents[2] / "golden"
TINY = GOLDEN / "tiny"
FUSION_LAYER = json.loads((TINY / "sizes.json").read_text())["fusion_layer"]
# task -> file of the golden set
FILES = {
    "pretrain": "pretrain",
    "retrieval": "retrieval",
    "entailment": "ve",
    "vqa": "vqa",
    "nlvr": "nlvr",
    "nlvr_pretrain": "pretrain_nlvr",
}
ALL = pytest.mark.parametrize("task", FILES)
LAYER = "text_encoder.encoder.layer.{}.crossattention.self.key.weight"


@cache
def saved(task):
    return reader.read_state_dict(TINY / f"{FILES[task]}.pth")


def read(task, state=None):
    return state_dict.from_official(saved(task) if state is None else state, task=task)


def written(official, task):
    return state_dict.to_official(official.params, official.teacher, official.queues, task)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


@ALL
def test_round_trip_is_bit_exact(task):
    official = read(task)
    assert official.unused == []
    assert_same(written(official, task), saved(task))


def test_grounding_has_the_names_of_retrieval():
    official = read("grounding", saved("retrieval"))
    assert_same(written(official, "grounding"), saved("retrieval"))


@ALL
def test_task_and_fusion_layer_follow_from_the_names(task):
    assert state_dict.find_task(saved(task)) == task
    assert state_dict.fusion_layer_of(saved(task)) == FUSION_LAYER


def shapes(tree):
    return {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(tree)}


@ALL
def test_trees_are_those_of_the_models(task):
    sizes = json.loads((TINY / "sizes.json").read_text())
    config = ModelConfig(
        image_size=sizes["image_res"],
        patch_size=sizes["patch_size"],
        image_width=sizes["vit_dim"],
        image_depth=sizes["vit_depth"],
        image_heads=sizes["vit_heads"],
        text_width=sizes["hidden_size"],
        text_heads=sizes["num_attention_heads"],
        text_intermediate=sizes["intermediate_size"],
        text_depth=sizes["fusion_layer"],
        fusion_depth=sizes["num_hidden_layers"] - sizes["fusion_layer"],
        vocab_size=sizes["vocab_size"],
        max_positions=sizes["max_position_embeddings"],
        embed_dim=sizes["embed_dim"],
    )
    params = jax.eval_shape(partial(task_models.init, config, task), jax.random.key(0))
    official = read(task)
    assert shapes(official.params) == shapes(params)
    if task == "nlvr_pretrain":
        assert official.teacher == {}
    else:
        assert shapes(official.teacher) == shapes(jax.eval_shape(albef.teacher_params, params))


@pytest.mark.parametrize(
    ("task", "file", "variant"),
    [
        ("retrieval", "retrieval", "alpha04"),
        ("entailment", "ve", "alpha04"),
        ("vqa", "vqa", "nodistill"),
        ("nlvr", "nlvr", "alpha04"),
        ("nlvr_pretrain", "pretrain_nlvr", None),
    ],
)
def test_parameter_names_are_those_of_the_golden_gradients(task, file, variant):
    golden = json.loads((TINY / f"{file}_norms.json").read_text())
    golden = golden[variant] if variant else golden
    expected = set(golden["grad_l2_norm"]) | set(golden["no_gradient"])
    assert set(state_dict.to_official_params(read(task).params, task)) == expected


def test_image_ids_are_a_row_of_their_own():
    state = dict(saved("retrieval"))
    state["idx_queue"] = np.arange(12, dtype=np.int64)[None] - 5
    ids = read("retrieval", state).queues["image_id"]
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, np.arange(12) - 5)


def test_layers_of_a_pair_share_keys_and_values():
    official = read("nlvr")
    for first, second in json.loads((TINY / "nlvr_shared.json").read_text())["same_tensor"]:
        np.testing.assert_array_equal(saved("nlvr")[first], saved("nlvr")[second])
        state = {k: v for k, v in saved("nlvr").items() if k not in (first, second)}
        with pytest.raises(CheckpointError, match="1 names are missing"):
            read("nlvr", state)
        for name in (first, second):  # either is enough
            one = state | {name: saved("nlvr")[name]}
            assert_same(written(read("nlvr", one), "nlvr"), written(official, "nlvr"))


def test_the_second_layer_of_a_pair_counts():
    state = dict(saved("nlvr"))
    state[LAYER.format(4)] = np.zeros_like(state[LAYER.format(4)])
    expected = state[LAYER.format(5)].T
    found = read("nlvr", state).params["pair_encoder"]["layers"]["key"]["kernel"]
    np.testing.assert_array_equal(found[1], expected)
    assert np.any(expected)


def test_values_land_in_their_pair():
    layers, state = read("nlvr").params["pair_encoder"]["layers"], saved("nlvr")
    name = "text_encoder.encoder.layer.{}.attention.self.query.weight"
    for pair in range(2):
        for offset, half in enumerate(("first", "second")):
            kernel = layers[half]["self_attention"]["query"]["kernel"][pair]
            number = FUSION_LAYER + 2 * pair + offset
            np.testing.assert_array_equal(kernel, state[name.format(number)].T)


def test_half_a_pair_is_noticed():
    state = {k: v for k, v in saved("nlvr").items() if ".layer.5." not in k}
    with pytest.raises(CheckpointError, match=r"nlvr checkpoint.*layer\.5\."):
        read("nlvr", state)


def test_decoder_counts_its_own_layers():
    state = {k: v for k, v in saved("vqa").items() if "text_decoder.bert.encoder.layer.0" not in k}
    with pytest.raises(CheckpointError, match=r"text_decoder\.bert\.encoder\.layer\.0"):
        read("vqa", state)


@ALL
def test_without_a_teacher(task):
    state = {k: v for k, v in saved(task).items() if not k.partition(".")[0].endswith("_m")}
    official = read(task, state)
    assert official.teacher == {} and official.unused == []
    assert_same(written(official, task), state)


@pytest.mark.parametrize("task", ["pretrain", "retrieval"])
def test_without_queues(task):
    state = {k: v for k, v in saved(task).items() if "queue" not in k}
    official = read(task, state)
    assert official.queues == {}
    assert_same(written(official, task), state)
    state["queue_ptr"] = np.zeros(1, np.int64)
    with pytest.raises(CheckpointError, match="image_queue, text_queue"):
        read(task, state)


def test_a_part_of_a_teacher_is_refused():
    state = {k: v for k, v in saved("entailment").items() if not k.startswith("cls_head_m.")}
    with pytest.raises(CheckpointError, match=r"4 names are missing: cls_head_m\.0\.weight"):
        read("entailment", state)


@pytest.mark.parametrize("twin", ["", "_m"])
def test_untied_words_of_the_decoder_are_refused(twin):
    state = dict(saved("vqa"))
    name = f"text_decoder{twin}.cls.predictions.decoder.bias"
    state[name] = state[name] + 1
    with pytest.raises(CheckpointError, match=f"text_decoder{twin}.*ties"):
        read("vqa", state)


def test_another_task_is_noticed():
    with pytest.raises(CheckpointError, match="not a vqa checkpoint"):
        read("vqa", saved("retrieval"))


def test_names_of_no_task_are_shown():
    with pytest.raises(CheckpointError, match=r"names are module\.temp"):
        state_dict.find_task({"module.temp": np.zeros(())})
    with pytest.raises(CheckpointError, match="has 5 classes"):
        state_dict.find_task({"cls_head.2.bias": np.zeros(5)})
    with pytest.raises(CheckpointError, match="no layer of text_encoder has crossattention"):
        state_dict.fusion_layer_of(
            ["text_decoder.bert.encoder.layer.0.crossattention.self.key.bias"]
        )


# Full-size numbers and what stands for them here; those of the depths and heads stay.
NARROW = {
    **{768: 12, 3 * 768: 36, 4 * 768: 48},
    **{30522: 23, 512: 10, 256: 8, 65536: 6},
}
CONFIG = ModelConfig(
    image_width=12,
    image_heads=2,
    text_width=12,
    text_heads=2,
    text_intermediate=48,
    vocab_size=23,
    max_positions=10,
    embed_dim=8,
)


@ALL
def test_full_depth_has_the_official_names_types_and_shapes(task):
    file = GOLDEN / "official_keys" / "official_checkpoint_keys.json"
    official = json.loads(file.read_text())[FILES[task]]
    params = jax.eval_shape(partial(task_models.init, CONFIG, task), jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    teacher = {} if task == "nlvr_pretrain" else albef.teacher_params(params)
    queues = {}
    if task in ("pretrain", "retrieval"):
        queues = {name: np.zeros((6, 8), np.float32) for name in ("image", "text")}
        queues |= {"pointer": 0, "image_id": np.zeros(6, np.int32)}
    state = state_dict.to_official(params, teacher, queues, task)
    found = {name: [array.dtype.name, *array.shape] for name, array in state.items()}
    narrow = {
        name: [t, *(NARROW.get(n, n) for n in shape)] for name, (t, *shape) in official.items()
    }
    assert found == narrow
    assert state_dict.find_task(state) == task and state_dict.fusion_layer_of(state) == 6
