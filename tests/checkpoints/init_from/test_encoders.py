"""Models started from the recorded BERT, ViT and DeiT; the table of what was taken."""

import shutil
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.init_from.encoders import warm_start_encoders
from albef_jax.checkpoints.init_from.report import format_table
from albef_jax.checkpoints.init_from.unimodal import read_image_encoder, read_text_encoder
from albef_jax.config.defaults import default, model_config, use_preset
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.data.tokenizer import VOCAB_DIR
from albef_jax.errors import CheckpointError
from albef_jax.models import albef, bert, task_models

GOLDEN = Path(__file__).parents[2] / "golden" / "unimodal"
SIZES = {
    "image_size": 32,
    "patch_size": 8,
    "image_width": 32,
    "image_depth": 3,
    "image_heads": 2,
    "text_width": 32,
    "text_heads": 2,
    "text_intermediate": 64,
    "text_depth": 2,
    "fusion_depth": 1,
    "vocab_size": 60,
    "max_positions": 20,
    "embed_dim": 8,
}


def configured(text="", vision="", task="pretrain", **sizes):
    config = default(task)
    use_preset(config, "tiny", **{**SIZES, **sizes})
    with config.unlocked():
        config.init.text, config.init.vision = str(text), str(vision)
    config.data.vocab = "scenes"
    return config


def fresh_params(config):
    """Random numbers everywhere; compiles nothing."""
    rng = np.random.default_rng(0)
    model, task = model_config(config), task_spec(config.task).model
    shapes = jax.eval_shape(lambda key: task_models.init(model, task, key), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)


def start(*args, **kwargs):
    config = configured(*args, **kwargs)
    before = fresh_params(config)
    params, rows = warm_start_encoders(config, before)
    assert jax.tree.structure(params) == jax.tree.structure(before)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, before)
    return before, params, {row.path: row for row in rows}


def layer(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


def without(tree, *names):
    return {name: child for name, child in tree.items() if name not in names}


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def with_vocabulary(directory, words):
    shutil.copytree(GOLDEN / "bert", directory, dirs_exist_ok=True)
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return directory


def test_layers_are_dealt_out_in_order():
    before, params, rows = start(GOLDEN / "bert")
    theirs = read_text_encoder(GOLDEN / "bert").params
    text, fusion = params["text_encoder"]["layers"], params["fusion_encoder"]["layers"]
    assert_equal(text, jax.tree.map(lambda leaf: leaf[:2], theirs["layers"]))
    assert_equal(without(layer(fusion, 0), "cross_attention"), layer(theirs["layers"], 2))
    assert_equal(params["text_encoder"]["embeddings"], theirs["embeddings"])
    assert_equal(params["mlm_head"], theirs["head"])
    for part in ("image_encoder", "image_proj", "text_proj", "itm_head", "temperature"):
        assert_equal(params[part], before[part])
    assert_equal(fusion["cross_attention"], before["fusion_encoder"]["layers"]["cross_attention"])
    assert rows["fusion_encoder/layers/intermediate"].status == "loaded"
    assert rows["fusion_encoder/layers/cross_attention/key"].status == "new"
    assert {row.status for path, row in rows.items() if path.startswith("image")} == {"new"}


def test_the_fusion_encoder_computes_berts_last_layer():
    """With the cross-attention left out, it is the third layer as `transformers` computes it."""
    computed = np.load(GOLDEN / "computed.npz")
    _, params, _ = start(GOLDEN / "bert")
    own = without(layer(params["fusion_encoder"]["layers"], 0), "cross_attention")
    module = bert.TextLayer(model_config(configured(dropout=0.0)), deterministic=True)
    bias = albef.attention.self_bias(computed["text_mask"], causal=False)
    out = module.apply({"params": own}, computed["text_hidden"][2], bias)
    np.testing.assert_allclose(out, computed["text_hidden"][3], rtol=0, atol=1e-5)


def test_the_image_encoder():
    before, params, rows = start(vision=GOLDEN / "vit")
    assert_equal(params["image_encoder"], read_image_encoder(GOLDEN / "vit").params)
    assert_equal(without(params, "image_encoder"), without(before, "image_encoder"))
    assert rows["image_encoder/pos_embed"].status == "loaded"
    assert rows["classifier.weight"].status == "unused"


def test_larger_images_as_there():
    computed = np.load(GOLDEN / "computed.npz")
    _, params, rows = start(vision=GOLDEN / "vit", image_size=48)
    assert rows["image_encoder/pos_embed"].note == "from 16 to 36 patches"
    config = model_config(configured(image_size=48))
    encode = jax.jit(partial(albef.encode_image, config))
    out = encode(params, computed["large_image"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(out, computed["vit_large"], rtol=0, atol=2e-5)


def test_no_two_arrays_share_memory():
    before, params, _ = start(GOLDEN / "bert", GOLDEN / "vit", task="nlvr")
    leaves = jax.tree.leaves(params)
    owners = [leaf if leaf.base is None else leaf.base for leaf in leaves]
    assert len({id(owner) for owner in owners}) == len(leaves)
    assert not {id(owner) for owner in owners} & {id(leaf) for leaf in jax.tree.leaves(before)}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_start_from_both(task):
    _, params, rows = start(GOLDEN / "bert", GOLDEN / "deit.pth", task=task)
    theirs = read_text_encoder(GOLDEN / "bert").params
    third = layer(theirs["layers"], 2)
    if task in ("nlvr", "nlvr_pretrain"):
        pairs = layer(params["pair_encoder"]["layers"], 0)
        for part in ("first", "second"):
            assert_equal(without(pairs[part], "cross_attention"), third)
        assert rows["pair_encoder/layers/key"].status == "new"
    else:
        assert_equal(
            without(layer(params["fusion_encoder"]["layers"], 0), "cross_attention"), third
        )
    if task == "vqa":
        decoder = params["answer_decoder"]
        assert_equal(without(layer(decoder["layers"], 0), "cross_attention"), third)
        assert_equal(decoder["embeddings"], theirs["embeddings"])
        assert_equal(decoder["head"], theirs["head"])
    assert_equal(params["image_encoder"], read_image_encoder(GOLDEN / "deit").params)


def test_fewer_layers_than_the_model_has():
    before, params, rows = start(GOLDEN / "bert", text_depth=2, fusion_depth=2)
    theirs = read_text_encoder(GOLDEN / "bert").params["layers"]
    ours = without(params["fusion_encoder"]["layers"], "cross_attention")
    assert_equal(layer(ours, 0), layer(theirs, 2))
    fresh = without(before["fusion_encoder"]["layers"], "cross_attention")
    assert_equal(layer(ours, 1), layer(fresh, 1))
    row = rows["fusion_encoder/layers/norm"]
    assert (row.status, row.note) == ("resized", "the first 1 of 2 layers, the others new")


def test_no_layer_left_for_fusion():
    before, params, rows = start(GOLDEN / "bert", text_depth=3)
    assert_equal(params["fusion_encoder"], before["fusion_encoder"])
    fused = {(row.status, row.note) for path, row in rows.items() if path.startswith("fusion")}
    assert fused == {("new", "not in the checkpoint")}


def test_more_layers_than_the_model_has():
    message = r"bert/model\.safetensors: 3 layers there, but model\.text_depth=1 and .* for 2; set"
    with pytest.raises(CheckpointError, match=message):
        start(GOLDEN / "bert", text_depth=1, fusion_depth=1)


@pytest.mark.parametrize(
    ("positions", "note"),
    [(12, "cut from 20 to 12 positions"), (32, "the first 20 of 32 positions, the others new")],
)
def test_another_number_of_positions(positions, note):
    before, params, rows = start(GOLDEN / "bert", max_positions=positions)
    ours = params["text_encoder"]["embeddings"]["position"]["embedding"]
    theirs = read_text_encoder(GOLDEN / "bert").params["embeddings"]["position"]["embedding"]
    common = min(positions, 20)
    np.testing.assert_array_equal(ours[:common], theirs[:common])
    fresh = before["text_encoder"]["embeddings"]["position"]["embedding"]
    np.testing.assert_array_equal(ours[common:], fresh[common:])
    row = rows["text_encoder/embeddings/position"]
    assert (row.status, row.note) == ("resized", note)


def test_words_are_found_by_their_name(tmp_path):
    """Theirs are 50 of ours, backwards, and 9 others. The model has 4 spare rows."""
    ours = (VOCAB_DIR / "scenes.txt").read_text().splitlines()
    words = [*reversed(ours[100:150]), *(f"else{number}" for number in range(9))]
    path = with_vocabulary(tmp_path, words)
    before, params, rows = start(path, vocab_size=len(ours) + 4)
    theirs = read_text_encoder(path).params
    matrix, fresh = (
        tree["text_encoder"]["embeddings"]["word"]["embedding"] for tree in (params, before)
    )
    found = theirs["embeddings"]["word"]["embedding"][:50]
    np.testing.assert_array_equal(matrix[100:150], found[::-1])
    np.testing.assert_array_equal(matrix[:100], fresh[:100])
    np.testing.assert_array_equal(matrix[150:], fresh[150:])
    bias = params["mlm_head"]["bias"]
    np.testing.assert_array_equal(bias[100:150], theirs["head"]["bias"][:50][::-1])
    np.testing.assert_array_equal(bias[:100], before["mlm_head"]["bias"][:100])
    for path in ("text_encoder/embeddings/word", "mlm_head/bias"):
        assert rows[path].note == f"50 of {len(ours)} words, {len(ours) - 50} new"


def test_the_same_vocabulary_is_taken_whole(tmp_path):
    words = [f"w{number}" for number in range(60)]
    path = with_vocabulary(tmp_path, words)
    config = configured(path)
    config.data.vocab = str(path / "vocab.txt")
    params, rows = warm_start_encoders(config, fresh_params(config))
    status = {row.path: row.status for row in rows}
    assert status["text_encoder/embeddings/word"] == status["mlm_head/bias"] == "loaded"
    assert_equal(params["mlm_head"], read_text_encoder(path).params["head"])


@pytest.mark.parametrize(("size", "common"), [(50, 50), (90, 60)])
def test_without_a_vocabulary_the_first_rows_are_taken(size, common):
    before, params, rows = start(GOLDEN / "bert", vocab_size=size)
    ours = params["text_encoder"]["embeddings"]["word"]["embedding"]
    theirs = read_text_encoder(GOLDEN / "bert").params["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(ours[:common], theirs[:common])
    fresh = before["text_encoder"]["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(ours[common:], fresh[common:])
    assert rows["text_encoder/embeddings/word"].note.endswith("by row, since no vocab.txt is there")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"text_width": 64}, r"bert.*model\.text_width is 32 there and 64 here"),
        ({"text_intermediate": 32}, r"bert.*model\.text_intermediate is 64 there and 32 here"),
        ({"text_heads": 4}, r"bert.*model\.text_heads is 2 there and 4 here"),
        ({"image_width": 16}, r"vit.*model\.image_width is 32 there and 16 here"),
        ({"patch_size": 16}, r"vit.*model\.patch_size is 8 there and 16 here"),
        ({"image_depth": 2}, r"vit.*model\.image_depth is 3 there and 2 here"),
        ({"image_heads": 8}, r"vit.*model\.image_heads is 2 there and 8 here"),
    ],
)
def test_another_size_is_refused_by_the_option_of_each(sizes, message):
    with pytest.raises(CheckpointError, match=message):
        start(GOLDEN / "bert", GOLDEN / "vit", **sizes)


def test_another_shape_is_refused_by_the_module(tmp_path, monkeypatch):
    """Grey images: no size of ours says that."""
    found = read_image_encoder(GOLDEN / "vit")
    kernel = found.params["patch_embed"]["kernel"]
    found.params["patch_embed"]["kernel"] = kernel[:, :, :1]
    monkeypatch.setattr(
        "albef_jax.checkpoints.init_from.encoders.read_image_encoder", lambda path: found
    )
    message = r"init\.vision=.*: image_encoder/patch_embed is \(8, 8, 1, 32\) there, \(8, 8, 3,"
    with pytest.raises(CheckpointError, match=message):
        start(vision=GOLDEN / "vit")


def test_positions_that_are_no_square(monkeypatch):
    found = read_image_encoder(GOLDEN / "vit")
    found.params["pos_embed"] = found.params["pos_embed"][:, :-1]
    monkeypatch.setattr(
        "albef_jax.checkpoints.init_from.encoders.read_image_encoder", lambda path: found
    )
    with pytest.raises(CheckpointError, match=r"vit/model\.safetensors: .* square numbers"):
        start(vision=GOLDEN / "vit")


def test_a_name_that_cannot_be_had_names_its_option(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"^init\.vision=org/vit: no such file"):
        start(vision="org/vit")


def test_the_table():
    config = configured(GOLDEN / "bert_old", GOLDEN / "vit", image_size=48, max_positions=12)
    table = format_table(warm_start_encoders(config, fresh_params(config))[1])
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "image_encoder/pos_embed 1 tensors 1.2 k resized, from 16 to 36 patches" in lines
    position = "text_encoder/embeddings/position 1 tensors 384"
    assert f"{position} resized, cut from 20 to 12 positions" in lines
    assert (
        "fusion_encoder/layers/cross_attention/out 2 tensors 1.1 k new, not in the checkpoint"
        in lines
    )
    assert "image_proj 2 tensors 264 new" in lines
    unused = lines[lines.index(next(line for line in lines if "of the checkpoint" in line)) + 1]
    assert {"cls.seq_relationship.weight", "classifier.bias"} <= {*unused.split(", ")}
