"""Heads, features, the teacher's tree, and low precision."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from albef_jax.models import albef
from albef_jax.models.primitives import normalize


def test_the_teacher_has_neither_match_head_nor_temperature(tiny):
    teacher = albef.teacher_params(tiny.params)
    assert tiny.params.keys() - teacher.keys() == {"itm_head", "temperature"}
    shared = {name: tiny.params[name] for name in teacher}
    jax.tree.map(np.testing.assert_array_equal, teacher, shared)


def test_the_teacher_is_a_copy(tiny):
    """Buffers of its own: the step donates student and teacher both."""
    teacher = albef.teacher_params(tiny.params)
    ours = teacher["text_proj"]["kernel"], tiny.params["text_proj"]["kernel"]
    assert ours[0].unsafe_buffer_pointer() != ours[1].unsafe_buffer_pointer()


def test_count_parameters():
    tree = {"a": jnp.zeros((2, 3)), "b": {"c": jnp.zeros(5), "temperature": jnp.float32(0)}}
    assert albef.count_parameters(tree) == 12


@pytest.mark.parametrize("side, width", [("image", 32), ("text", 24)])
def test_features_are_projected_class_tokens_of_length_one(tiny, side, width):
    embeds = np.random.default_rng(0).standard_normal((3, 4, width), np.float32)
    function = {"image": albef.image_feature, "text": albef.text_feature}[side]
    layer = tiny.params[f"{side}_proj"]
    found = function(tiny.params, jnp.asarray(embeds))
    expected = embeds[:, 0].astype(np.float64) @ np.asarray(layer["kernel"]) + layer["bias"]
    expected = np.asarray(expected) / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_zero_projection_is_no_nan(tiny):
    params = {"image_proj": jax.tree.map(jnp.zeros_like, tiny.params["image_proj"])}
    assert not np.any(albef.image_feature(params, jnp.ones((2, 5, 32))))


def test_match_logits(tiny):
    hidden = np.random.default_rng(0).standard_normal((3, 2, 24), np.float32)
    head = tiny.params["itm_head"]
    expected = np.einsum("abd,dc->abc", hidden, head["kernel"]) + head["bias"]
    np.testing.assert_allclose(
        albef.itm_logits(tiny.params, hidden), expected, rtol=1e-4, atol=1e-6
    )


def test_vocabulary_logits_use_the_word_embeddings(tiny):
    hidden = np.random.default_rng(0).standard_normal((3, 24), np.float32)
    head = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tiny.params["mlm_head"])
    words = np.asarray(tiny.params["text_encoder"]["embeddings"]["word"]["embedding"], np.float64)
    x = hidden @ head["transform"]["kernel"] + head["transform"]["bias"]
    x = x * (1 + erf(x / 2**0.5)) / 2
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head["norm"]["scale"] + head["norm"]["bias"]
    found = albef.mlm_logits(tiny.config, tiny.params, jnp.asarray(hidden))
    np.testing.assert_allclose(found, x @ words.T + head["bias"], rtol=1e-4, atol=1e-5)


def outputs(config, params, batch):
    image = albef.encode_image(config, params, normalize(batch.image))
    text = albef.encode_text(config, params, batch.text_ids, batch.text_mask)
    fused = albef.fuse(config, params, text[:, None], batch.text_mask[:, None], image)
    return {
        "image": image,
        "text": text,
        "fused": fused,
        "image_feat": albef.image_feature(params, image),
        "text_feat": albef.text_feature(params, text),
        "itm": albef.itm_logits(params, fused[:, :, 0]),
        "mlm": albef.mlm_logits(config, params, fused),
    }


@pytest.fixture(scope="module")
def precise_and_low(tiny, batch):
    configs = tiny.config, replace(tiny.config, dtype="bfloat16")
    return [jax.jit(partial(outputs, config))(tiny.params, batch) for config in configs]


def test_bfloat16_is_used_where_it_is_cheap_and_float32_where_it_counts(precise_and_low):
    _, low = precise_and_low
    assert {name for name, out in low.items() if out.dtype == jnp.bfloat16} == {
        "image",
        "text",
        "fused",
    }
    assert {out.dtype for out in precise_and_low[0].values()} == {jnp.dtype("float32")}


def test_bfloat16_is_near_float32(precise_and_low):
    precise, low = precise_and_low
    for name, expected in precise.items():
        found = np.asarray(low[name], np.float32)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 0 < error < 0.02, f"{name}: {error:.4f}"


def test_fused_tokens_of_pairs(tiny, batch):
    """A row a text, with its own image; padding is not seen."""
    run = jax.jit(partial(albef.fuse_pairs, tiny.config, tiny.params))
    image = np.asarray(normalize(jnp.asarray(batch.image)))
    plain = np.asarray(run(image, batch.text_ids, batch.text_mask))
    assert plain.shape == (8, 6, 24)
    seen = batch.text_mask == 1
    rubbish = np.where(seen, batch.text_ids, 77)
    found = np.asarray(run(image, rubbish, batch.text_mask))
    np.testing.assert_allclose(found[seen], plain[seen], rtol=1e-5, atol=1e-5)
    other = image.copy()
    other[3] = 0
    moved = np.abs(np.asarray(run(other, batch.text_ids, batch.text_mask)) - plain)
    assert (moved.max(axis=(1, 2)) > 1e-4).tolist() == (np.arange(8) == 3).tolist()


def test_the_mean_over_tokens_leaves_padding_out(tiny, batch):
    config = replace(tiny.config, text_pooling="mean")
    text = np.random.default_rng(3).standard_normal((8, 6, config.text_width), np.float32)
    mask = jnp.asarray(batch.text_mask)
    feature = albef.text_feature(tiny.params, text, albef.pooled_tokens(config, mask))
    means = [
        row[: int(many)].mean(axis=0) for row, many in zip(text, mask.sum(axis=1), strict=True)
    ]
    projection = tiny.params["text_proj"]
    expected = np.stack(means) @ projection["kernel"] + projection["bias"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(feature, expected, rtol=1e-4, atol=1e-5)
    assert albef.pooled_tokens(tiny.config, mask) is None
