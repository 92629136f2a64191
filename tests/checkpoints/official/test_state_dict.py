"""The names table against the golden pre-training checkpoint and the golden gradient names."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.official import inventory, state_dict
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from albef_jax.models import albef
from albef_jax.models.config import preset
from tests.helpers.tiny_model import drawn_like

TINY = Path(__file__).parents[2] / "golden" / "tiny"
SIZES = json.loads((TINY / "sizes.json").read_text())
FUSION_LAYER = SIZES["fusion_layer"]
QUERY = "text_encoder.bert.encoder.layer.{}.attention.self.query.weight"


@pytest.fixture
def state():
    return dict(reader.read_state_dict(TINY / "pretrain.pth"))


@pytest.fixture
def official(state):
    return state_dict.from_official(state, fusion_layer=FUSION_LAYER)


def shapes(tree, path=""):
    if not isinstance(tree, dict):
        return {path: tree.shape}
    return {k: v for key, child in tree.items() for k, v in shapes(child, f"{path}/{key}").items()}


def test_round_trip_is_bit_exact(state, official):
    back = state_dict.to_official(official.params, official.teacher, official.queues)
    assert back.keys() == state.keys()
    for name, array in state.items():
        assert back[name].dtype == array.dtype, name
        assert back[name].shape == array.shape, name
        assert back[name].tobytes() == array.tobytes(), name
        assert back[name].flags.c_contiguous, name
    assert official.unused == []


def test_tree_has_our_shapes(official):
    width, text, layers = SIZES["vit_dim"], SIZES["hidden_size"], SIZES["num_hidden_layers"]
    patch, depth, fusion = SIZES["patch_size"], SIZES["vit_depth"], layers - FUSION_LAYER
    found = shapes(official.params)
    expected = {
        "/image_encoder/patch_embed/kernel": (patch, patch, 3, width),
        "/image_encoder/cls_token": (1, 1, width),
        "/image_encoder/blocks/qkv/kernel": (depth, width, 3 * width),
        "/image_encoder/blocks/fc1/bias": (depth, 4 * width),
        "/image_encoder/norm/scale": (width,),
        "/text_encoder/embeddings/type/embedding": (2, text),
        "/text_encoder/layers/intermediate/kernel": (
            FUSION_LAYER,
            text,
            SIZES["intermediate_size"],
        ),
        "/fusion_encoder/layers/cross_attention/key/kernel": (fusion, width, text),
        "/fusion_encoder/layers/norm/scale": (fusion, text),
        "/mlm_head/bias": (SIZES["vocab_size"],),
        "/image_proj/kernel": (width, SIZES["embed_dim"]),
        "/itm_head/kernel": (text, 2),
        "/temperature": (),
    }
    assert {path: found[path] for path in expected} == expected
    without = {k: v for k, v in found.items() if "itm_head" not in k and "temperature" not in k}
    assert shapes(official.teacher) == without


def test_values_land_where_they_belong(state, official):
    fused = official.params["fusion_encoder"]["layers"]["self_attention"]["query"]["kernel"]
    first = official.params["text_encoder"]["layers"]["self_attention"]["query"]["kernel"]
    np.testing.assert_array_equal(fused[1], state[QUERY.format(FUSION_LAYER + 1)].T)
    np.testing.assert_array_equal(first[0], state[QUERY.format(0)].T)
    patch = official.params["image_encoder"]["patch_embed"]["kernel"]
    conv = state["visual_encoder.patch_embed.proj.weight"]
    assert patch[3, 5, 1, 7] == conv[7, 1, 3, 5]
    twin = official.teacher["text_proj"]["bias"]
    np.testing.assert_array_equal(twin, state["text_proj_m.bias"])
    assert not np.array_equal(twin, state["text_proj.bias"])


def test_queues_are_transposed(state, official):
    size = (SIZES["queue_size"], SIZES["embed_dim"])
    assert official.queues["image"].shape == official.queues["text"].shape == size
    np.testing.assert_array_equal(official.queues["text"].T, state["text_queue"])
    assert official.queues["pointer"] == 0


def test_parameter_names_are_those_of_the_golden_gradients(official):
    golden = json.loads((TINY / "pretrain_norms.json").read_text())["alpha04"]
    expected = set(golden["grad_l2_norm"]) | set(golden["no_gradient"])
    assert set(state_dict.to_official_params(official.params)) == expected


def test_arrays_are_float32_copies(state, official):
    half = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in state.items()}
    kernel = state_dict.from_official(half, fusion_layer=FUSION_LAYER).params["itm_head"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, half["itm_head.weight"].T.astype(np.float32))
    official.params["itm_head"]["kernel"][:] = 0  # writable, though the file's arrays are not
    assert np.any(state["itm_head.weight"])


def test_missing_names_are_all_listed(state):
    gone = ["temp", "text_queue", QUERY.format(3), "visual_encoder_m.blocks.1.attn.qkv.bias"]
    for name in gone:
        del state[name]
    with pytest.raises(CheckpointError, match="4 names are missing") as error:
        state_dict.from_official(state, fusion_layer=FUSION_LAYER)
    assert all(name in str(error.value) for name in gone)


@pytest.mark.parametrize("prefix", ["visual_encoder.blocks.1.", "text_encoder.bert.encoder."])
def test_missing_layers_are_noticed(state, prefix):
    fewer = {name: array for name, array in state.items() if not name.startswith(prefix)}
    with pytest.raises(CheckpointError, match="names are missing"):
        state_dict.from_official(fewer, fusion_layer=FUSION_LAYER)


def test_wrong_fusion_layer_is_noticed(state):
    with pytest.raises(CheckpointError, match=r"layer\.1\.crossattention"):
        state_dict.from_official(state, fusion_layer=1)
    late = state_dict.from_official(state, fusion_layer=3)
    assert all(".layer.2.crossattention." in name for name in late.unused) and late.unused
    with pytest.raises(ValueError, match="at least 1"):
        state_dict.from_official(state, fusion_layer=0)


def test_unknown_names_are_reported(state):
    state["aux_head.weight"] = np.zeros(3, np.float32)
    assert state_dict.from_official(state, fusion_layer=FUSION_LAYER).unused == ["aux_head.weight"]


@pytest.mark.parametrize("twin", ["", "_m"])
def test_untied_weights_are_refused(state, twin):
    name = f"text_encoder{twin}.cls.predictions.decoder.weight"
    state[name] = state[name] + 1
    with pytest.raises(CheckpointError, match=f"text_encoder{twin}.*ties"):
        state_dict.from_official(state, fusion_layer=FUSION_LAYER)


def test_tied_names_may_be_absent(state):
    for name in [n for n in state if "decoder" in n or "position_ids" in n]:
        del state[name]
    assert state_dict.from_official(state, fusion_layer=FUSION_LAYER).unused == []


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("itm_head.weight", (2, 24, 1), "should have 2 axes"),
        ("visual_encoder.blocks.1.norm1.bias", (7,), "differ in shape"),
        ("image_queue", (16,), "should have 2 axes"),
        ("queue_ptr", (2,), "one number"),
    ],
)
def test_wrong_shapes_are_named(state, name, shape, reason):
    state[name] = np.zeros(shape, np.float32)
    with pytest.raises(CheckpointError, match=reason):
        state_dict.from_official(state, fusion_layer=FUSION_LAYER)


def test_trees_must_match_the_table(official):
    del official.params["itm_head"]
    official.params["extra"] = {"kernel": np.zeros(3)}
    with pytest.raises(CheckpointError, match=r"extra/kernel, itm_head/bias, itm_head/kernel"):
        state_dict.to_official(official.params, official.teacher, official.queues)


def test_a_convolutional_stem_has_names_of_its_own():
    sizes = {"image_size": 32, "patch_size": 8, "image_depth": 1, "image_stem": "convolutions"}
    init = partial(albef.init, preset("tiny", **sizes, vocab_size=20))
    params = jax.device_get(drawn_like(init, 0))
    state = state_dict.to_official(params, jax.device_get(albef.teacher_params(params)), {})
    assert state["visual_encoder.stem.conv_1.weight"].shape == (64, 32, 3, 3)
    assert state["visual_encoder_m.stem.conv_0.bias"].shape == (32,)
    found = state_dict.from_official(state)
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    taken = inventory.take(state, "pretrain")
    assert not taken.missing and not taken.unexpected and not found.unused
    del state["visual_encoder.stem.conv_1.weight"], state["visual_encoder.stem.conv_0.bias"]
    taken = inventory.take(state, "pretrain")
    assert taken.missing == ["visual_encoder.stem.conv_0.bias"]
    assert "visual_encoder.stem.conv_1.bias" in taken.unexpected
