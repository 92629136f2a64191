"""Checkpoints of `transformers` and timm, and the numbers that `transformers` computes from them.

`tools/record_unimodal.py` recorded both.
"""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import scipy.special

from albef_jax.checkpoints.init_from.unimodal import read_image_encoder, read_text_encoder
from albef_jax.checkpoints.torch_format import reader
from albef_jax.errors import CheckpointError
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "unimodal"
SIZES = ModelConfig(
    image_size=32,
    patch_size=8,
    image_width=32,
    image_depth=3,
    image_heads=2,
    text_width=32,
    text_heads=2,
    text_intermediate=64,
    text_depth=3,
    vocab_size=60,
    max_positions=20,
)
ENCODE_IMAGE = jax.jit(partial(albef.encode_image, SIZES))


@pytest.fixture(scope="module")
def computed():
    return dict(np.load(GOLDEN / "computed.npz"))


def state_of(name):
    return safetensors.numpy.load_file(GOLDEN / name / "model.safetensors")


def write(directory, state, name="model.safetensors"):
    copies = {key: np.array(array, order="C") for key, array in state.items()}
    safetensors.numpy.save_file(copies, directory / name)
    return directory


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_bert_computes_what_it_computes_there(computed):
    bert = read_text_encoder(GOLDEN / "bert").params
    params = {"text_encoder": bert, "mlm_head": bert["head"]}

    @jax.jit
    def encode(params, ids, mask):
        out, hidden = albef.encode_text(SIZES, params, ids, mask, collect=True)
        return hidden, albef.mlm_logits(SIZES, params, out)

    hidden, logits = encode(params, computed["text_ids"], computed["text_mask"])
    np.testing.assert_allclose(hidden, computed["text_hidden"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, computed["text_logits"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["vit", "deit", "deit.pth"])
def test_image_encoders_compute_what_they_compute_there(name, computed):
    """DeiT without its distillation token, under both kinds of names."""
    params = {"image_encoder": read_image_encoder(GOLDEN / name).params}
    image = computed["image"].transpose(0, 2, 3, 1)
    out = ENCODE_IMAGE(params, image)
    expected = computed[name.removesuffix(".pth")]
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)


def test_both_kinds_of_names_are_one_model():
    separate, fused = (read_image_encoder(GOLDEN / name).params for name in ("deit", "deit.pth"))
    assert_equal(separate, fused)
    assert separate["blocks"]["qkv"]["kernel"].shape == (3, 32, 96)
    assert {leaf.dtype for leaf in jax.tree.leaves(fused)} == {np.dtype(np.float32)}


def test_names_of_old_files():
    """gamma and beta, a buffer of position numbers, the tied matrix under both of its names."""
    old, new = (read_text_encoder(GOLDEN / name) for name in ("bert_old", "bert"))
    assert_equal(old.params, new.params)
    assert set(old.unused) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    }
    assert new.unused == {}
    assert old.file == GOLDEN / "bert_old" / "pytorch_model.bin"


def test_names_without_the_prefix_and_without_a_head(tmp_path):
    state = {
        name.removeprefix("bert."): array
        for name, array in state_of("bert").items()
        if name.startswith("bert.")
    }
    found = read_text_encoder(write(tmp_path, state) / "model.safetensors")
    whole = read_text_encoder(GOLDEN / "bert").params
    assert "head" not in found.params
    assert_equal(found.params, {name: whole[name] for name in ("embeddings", "layers")})


def test_only_the_head_bias_of_the_decoder(tmp_path):
    state = state_of("bert")
    state["cls.predictions.decoder.bias"] = state.pop("cls.predictions.bias")
    found = read_text_encoder(write(tmp_path, state))
    assert_equal(found.params, read_text_encoder(GOLDEN / "bert").params)


def test_an_untied_head_is_refused(tmp_path):
    state = state_of("bert")
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"] + 1
    with pytest.raises(CheckpointError, match=r"safetensors: cls\.predictions\.decoder\.weight di"):
        read_text_encoder(write(tmp_path, state))


def test_a_head_for_other_words_is_refused(tmp_path):
    state = state_of("bert") | {"cls.predictions.bias": np.zeros(59, np.float32)}
    with pytest.raises(CheckpointError, match=r"head \(59,\) on embeddings of 60 words"):
        read_text_encoder(write(tmp_path, state))


def test_what_no_part_of_the_encoder_is_goes_unused():
    assert set(read_image_encoder(GOLDEN / "vit").unused) == {
        "classifier.weight",
        "classifier.bias",
    }
    for name, heads in {"deit": ["pooler.dense"], "deit.pth": ["head", "head_dist"]}.items():
        unused = {key.rpartition(".")[0] or key for key in read_image_encoder(GOLDEN / name).unused}
        assert unused == {"dist_token", *heads}


def test_positions_of_the_distillation_token_are_dropped():
    there = state_of("deit")["embeddings.position_embeddings"]
    here = read_image_encoder(GOLDEN / "deit").params["pos_embed"]
    np.testing.assert_array_equal(here, there[:, [0, *range(2, 18)]])


@pytest.mark.parametrize("absent", ["query", "key"])
def test_a_missing_bias_is_zero(tmp_path, absent):
    state = state_of("vit")
    for name in [name for name in state if name.endswith(f"attention.{absent}.bias")]:
        del state[name]
    bias = read_image_encoder(write(tmp_path, state)).params["blocks"]["qkv"]["bias"]
    expected = read_image_encoder(GOLDEN / "vit").params["blocks"]["qkv"]["bias"].copy()
    start = {"query": 0, "key": 32}[absent]
    expected[:, start : start + 32] = 0
    np.testing.assert_array_equal(bias, expected)


def test_a_missing_fused_bias_is_zero(tmp_path):
    state = reader.read_state_dict(GOLDEN / "deit.pth")
    kept = {name: array for name, array in state.items() if not name.endswith("qkv.bias")}
    bias = read_image_encoder(write(tmp_path, kept)).params["blocks"]["qkv"]["bias"]
    np.testing.assert_array_equal(bias, np.zeros((3, 96), np.float32))


DINOV2 = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def dinov2_name(name):
    """A ViT's name as DINOv2 has it in `transformers`."""
    start, layer, rest = name.removeprefix("vit.").rpartition(".layer.")
    if not layer:
        return f"dinov2.{rest}"
    number, _, module = rest.partition(".")
    for theirs, name_there in DINOV2.items():
        if module.startswith(theirs):
            module = name_there + module.removeprefix(theirs)
    return f"dinov2.{start}{layer}{number}.{module}"


def layer_scales():
    """Those of the three layers, attention's and the MLP's; one is below 0."""
    return np.linspace(-0.2, 1.5, 3 * 2 * 32, dtype=np.float32).reshape(3, 2, 32)


@pytest.mark.parametrize(
    ("names", "scale"),
    [
        (dinov2_name, "dinov2.encoder.layer.{}.layer_scale{}.lambda1"),
        (str, "blocks.{}.ls{}.gamma"),
    ],
)
def test_layer_scales_become_part_of_the_matrices(tmp_path, names, scale):
    """Equal to blocks whose residuals are multiplied by the scales."""
    state = {names(name): array for name, array in state_of("vit").items()}
    state["mask_token"] = np.ones((1, 32), np.float32)
    gamma = layer_scales()
    for layer, number in np.ndindex(3, 2):
        state[scale.format(layer, number + 1)] = gamma[layer, number]
    found = read_image_encoder(write(tmp_path, state))
    assert "mask_token" in found.unused
    image = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    plain = read_image_encoder(GOLDEN / "vit").params
    ours = ENCODE_IMAGE({"image_encoder": found.params}, image)
    np.testing.assert_allclose(ours, scaled_vit(plain, gamma, image), rtol=0, atol=1e-5)


def scaled_vit(params, gamma, image):
    """A ViT with layer scales, computed plainly in float64."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(module, x):
        mean, deviation = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return (x - mean) / deviation * module["scale"] + module["bias"]

    def linear(module, x):
        return x @ module["kernel"] + module["bias"]

    def attend(block, x):
        query, key, value = (
            linear(block["qkv"], x).reshape(*x.shape[:2], 3, 2, 16).transpose(2, 0, 3, 1, 4)
        )
        probabilities = scipy.special.softmax(query @ key.swapaxes(2, 3) / 4, axis=-1)
        return linear(block["proj"], (probabilities @ value).swapaxes(1, 2).reshape(x.shape))

    def mlp(block, x):
        hidden = linear(block["fc1"], x)
        return linear(block["fc2"], hidden * scipy.special.ndtr(hidden))

    patches = np.asarray(image, np.float64).reshape(2, 4, 8, 4, 8, 3).swapaxes(2, 3)
    embedded = np.einsum("brchwi,hwio->brco", patches, params["patch_embed"]["kernel"])
    x = (embedded + params["patch_embed"]["bias"]).reshape(2, 16, 32)
    x = np.concatenate([np.broadcast_to(params["cls_token"], (2, 1, 32)), x], 1)
    x = x + params["pos_embed"]
    for layer in range(3):
        block = jax.tree.map(lambda leaf, n=layer: leaf[n], params["blocks"])
        x = x + gamma[layer, 0] * attend(block, norm(block["norm1"], x))
        x = x + gamma[layer, 1] * mlp(block, norm(block["norm2"], x))
    return norm(params["norm"], x)


def test_a_layer_scale_of_another_width_is_refused(tmp_path):
    state = state_of("vit") | {"blocks.1.ls2.gamma": np.zeros(31, np.float32)}
    with pytest.raises(CheckpointError, match=r"blocks\.1\.ls2\.gamma: shape \(31,\) for an out"):
        read_image_encoder(write(tmp_path, state))


def test_layers_keep_their_order(tmp_path):
    """Eleven layers, so that 10 comes after 9."""
    state = {}
    for name, array in state_of("bert").items():
        if ".layer.0." not in name:
            state |= {} if ".layer." in name else {name: array}
            continue
        for layer in range(11):
            state[name.replace(".layer.0.", f".layer.{layer}.")] = np.full_like(array, layer)
    layers = read_text_encoder(write(tmp_path, state)).params["layers"]
    np.testing.assert_array_equal(layers["norm"]["scale"][:, 0], np.arange(11))


def test_what_lies_beside_the_weights_counts(tmp_path):
    shutil.copytree(GOLDEN / "bert", tmp_path, dirs_exist_ok=True)
    words = [f"w{number}" for number in range(59)]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        found = read_text_encoder(path)
        assert (found.heads, found.words) == (2, words)
    assert read_image_encoder(GOLDEN / "deit.pth").heads is None
    assert read_text_encoder(GOLDEN / "bert").words is None


def test_a_vocabulary_of_another_model(tmp_path):
    write(tmp_path, state_of("bert"))
    (tmp_path / "vocab.txt").write_text("word\n" * 61)
    with pytest.raises(CheckpointError, match=r"vocab\.txt: 61 words, but .* has embeddings of 60"):
        read_text_encoder(tmp_path)


@pytest.mark.parametrize("read", [read_text_encoder, read_image_encoder])
def test_nothing_to_read(tmp_path, read):
    with pytest.raises(CheckpointError, match="absent: no such file or directory"):
        read(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors and no pytorch_model\.bin"):
        read(tmp_path)
    (tmp_path / "model.safetensors").write_text("neither of them, but long enough for either")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read(tmp_path)


def test_the_wrong_option():
    with pytest.raises(CheckpointError, match=r"vit/model\.safetensors: no checkpoint of a BERT"):
        read_text_encoder(GOLDEN / "vit")
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of a ViT: it lacks .*blocks\.0\.attn"
    ):
        read_image_encoder(GOLDEN / "bert")


def test_a_gap_in_the_layers_is_named(tmp_path):
    state = {name: a for name, a in state_of("bert").items() if ".layer.1." not in name}
    with pytest.raises(CheckpointError, match=r"lacks bert\.encoder\.layer\.1\.attention"):
        read_text_encoder(write(tmp_path, state))


@pytest.mark.parametrize(
    ("name", "read", "extra"),
    [
        ("vit", read_image_encoder, "vit.embeddings.register_tokens"),
        ("vit", read_image_encoder, "register_tokens"),
        ("vit", read_image_encoder, "blocks.0.gamma_1"),
        ("bert", read_text_encoder, "bert.encoder.layer.0.crossattention.self.query.weight"),
    ],
)
def test_parameters_that_would_change_the_encoder_are_refused(tmp_path, name, read, extra):
    state = state_of(name) | {extra: np.zeros(32, np.float32)}
    with pytest.raises(CheckpointError, match=r"another kind of .* no place for"):
        read(write(tmp_path, state))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json: not JSON"),
        ("[]", r"config\.json: not a JSON object"),
        (json.dumps({"hidden_act": "relu"}), r"hidden_act is 'relu'; our encoders compute gelu"),
        (json.dumps({"position_embedding_type": "relative_key"}), "its positions are relative_key"),
    ],
)
def test_a_configuration_of_another_model(tmp_path, config, message):
    write(tmp_path, state_of("bert"))
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message):
        read_text_encoder(tmp_path)


def test_a_shape_with_too_few_axes_is_named(tmp_path):
    state = state_of("vit")
    state["vit.embeddings.position_embeddings"] = np.zeros(3, np.float32)
    state["vit.embeddings.distillation_token"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_image_encoder(write(tmp_path, state))
    state = state_of("vit") | {"vit.encoder.layer.0.intermediate.dense.weight": np.zeros(3)}
    with pytest.raises(CheckpointError, match=r"mlp\.fc1\.weight: shape \(3,\); it should have 2"):
        read_image_encoder(write(tmp_path, state))
