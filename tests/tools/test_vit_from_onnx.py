"""A ViT out of ONNX files as PyTorch's exporter writes them: matrices and positions nameless."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from albef_jax.checkpoints.init_from.unimodal import read_image_encoder
from albef_jax.models.primitives import MEAN, STD
from tools import vit_from_onnx

onnx = pytest.importorskip("onnx")
helper = onnx.helper

GOLDEN = Path(__file__).parents[1] / "golden" / "unimodal"


def state():
    """A ViT of 3 layers under the names of DINOv2 in `transformers`, with layer scales."""
    renamed = {"layernorm_before": "norm1", "layernorm_after": "norm2"}
    renamed |= {"intermediate.dense": "mlp.fc1"}
    found = {}
    for name, array in safetensors.numpy.load_file(GOLDEN / "vit" / "model.safetensors").items():
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        if ".attention." not in name:
            name = name.replace("output.dense", "mlp.fc2")
        if not name.startswith("classifier"):
            found[name.removeprefix("vit.")] = array.astype(np.float32)
    for layer, number in np.ndindex(3, 2):
        scale = np.linspace(0.1, 1 + layer + number, 32, dtype=np.float32)
        found[f"encoder.layer.{layer}.layer_scale{number + 1}.lambda1"] = scale
    return found


def exported(named, *, bias_first=True, resized=True, prefix="backbone."):
    """A graph with the parameters where the exporter has them; it computes nothing."""
    constants, nodes = {}, []
    for name, array in named.items():
        matrix = name.endswith(".weight") and array.ndim == 2
        if not matrix and name != "embeddings.position_embeddings":
            constants[prefix + name] = array
    for number, (name, array) in enumerate(named.items()):
        if not name.endswith(".weight") or array.ndim != 2:
            continue
        bias = prefix + name.removesuffix("weight") + "bias"
        constants[f"onnx::MatMul_{number}"] = array.T
        nodes.append(
            helper.make_node("MatMul", ["pixels", f"onnx::MatMul_{number}"], [f"p{number}"])
        )
        operands = [bias, f"p{number}"] if bias_first else [f"p{number}", bias]
        nodes.append(helper.make_node("Add", operands, [f"sum{number}"]))
    positions = named["embeddings.position_embeddings"]
    token = prefix + "embeddings.cls_token"
    nodes.append(helper.make_node("Concat", [token, "pixels"], ["tokens"], axis=1))
    if resized:
        constants |= {"onnx::Concat_1": positions[:, :1], "onnx::Reshape_2": positions[:, 1:]}
        nodes.append(helper.make_node("Shape", ["tokens"], ["size"]))
        nodes.append(helper.make_node("Resize", ["onnx::Reshape_2", "", "", "size"], ["grid"]))
        nodes.append(helper.make_node("Concat", ["onnx::Concat_1", "grid"], ["at"], axis=1))
        nodes.append(helper.make_node("Add", ["tokens", "at"], ["embedded"]))
    else:
        constants[prefix + "embeddings.position_embeddings"] = positions
    return constants, nodes


def save(path, constants, nodes):
    pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1, 3, 32, 32])
    arrays = [onnx.numpy_helper.from_array(np.array(a), name) for name, a in constants.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "vit", [pixels], [], arrays)), path)
    return path


def convert(path, monkeypatch, *options):
    target = path.with_name("vit.safetensors")
    monkeypatch.setattr(sys, "argv", ["vit_from_onnx", str(path), str(target), *options])
    vit_from_onnx.main()
    return read_image_encoder(target)


def direct(tmp_path):
    """The same ViT, read from the file of `transformers`."""
    file = tmp_path / "direct.safetensors"
    safetensors.numpy.save_file({k: np.array(v, order="C") for k, v in state().items()}, file)
    return read_image_encoder(file).params


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("options", [{}, {"bias_first": False, "prefix": ""}, {"resized": False}])
def test_nameless_matrices_and_positions_are_found(tmp_path, monkeypatch, capsys, options):
    constants, nodes = exported(state(), **options)
    constants["decoder.weight"] = np.zeros((3, 3), np.float32)
    found = convert(save(tmp_path / "model.onnx", constants, nodes), monkeypatch)
    assert_equal(found.params, direct(tmp_path))
    assert found.unused == {}
    printed = capsys.readouterr().out
    assert "image_width=32 image_depth=3 patch_size=8, positions for images of 32 p" in printed


def test_equal_parameters_that_are_stored_once(tmp_path, monkeypatch):
    named = state()
    twin, kept = (f"encoder.layer.{layer}.norm1.bias" for layer in (1, 0))
    named[twin] = named[kept]
    constants, nodes = exported(named)
    del constants[f"backbone.{twin}"]
    nodes.append(helper.make_node("Identity", [f"backbone.{kept}"], [f"backbone.{twin}"]))
    norm = convert(save(tmp_path / "model.onnx", constants, nodes), monkeypatch).params["blocks"]
    np.testing.assert_array_equal(norm["norm1"]["bias"][1], norm["norm1"]["bias"][0])


def test_other_pixels(tmp_path, monkeypatch):
    """The patches of the converted ViT on our pixels are those of the ViT on its own."""
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    path = save(tmp_path / "model.onnx", *exported(state()))
    options = ["--mean", *map(str, mean), "--std", *map(str, std)]
    ours = convert(path, monkeypatch, *options).params["patch_embed"]
    theirs = direct(tmp_path)["patch_embed"]
    image = np.random.default_rng(0).random((8, 8, 3))

    def patch(module, pixels):
        return np.einsum("hwc,hwcd->d", pixels, module["kernel"]) + module["bias"]

    computed = patch(ours, (image - MEAN) / STD)
    np.testing.assert_allclose(computed, patch(theirs, (image - mean) / std), atol=1e-5)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("cls_token", "no ViT with a class token among its"),
        ("MatMul_", r"it lacks blocks\.0\.attn\.proj\.weight"),
        ("Reshape_2", "no position embedding is added"),
        ("Concat_1", "no position embedding is added"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, absent, message):
    constants, nodes = exported(state())
    constants = {name: array for name, array in constants.items() if absent not in name}
    with pytest.raises(SystemExit, match=message):
        convert(save(tmp_path / "model.onnx", constants, nodes), monkeypatch)


def test_files_of_other_kinds(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    with pytest.raises(SystemExit, match="no such file"):
        convert(path, monkeypatch)
    path.write_text("something else")
    with pytest.raises(SystemExit, match="not an ONNX file"):
        convert(path, monkeypatch)


def test_one_option_alone(tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        convert(tmp_path / "model.onnx", monkeypatch, "--mean", "0.5", "0.5", "0.5")
