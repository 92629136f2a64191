"""Text and fusion encoders: padding, rows, negative images, dropout."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.take_rows import take_in_group

RNG = np.random.default_rng(0)
IMAGE_EMBEDS = RNG.standard_normal((4, 5, 32), np.float32)
HIDDEN = RNG.standard_normal((4, 4, 6, 24), np.float32)  # [B, R, T, D]
MASK = (np.arange(6) < RNG.integers(2, 7, (4, 4, 1))).astype(np.int32)
SWAPPED = np.array([[1, 0], [1, 0]], np.int32)  # two groups of two images
IMAGE = np.array([1, 0, 3, 2])  # what SWAPPED means in the whole batch


@pytest.fixture(scope="module")
def encode(tiny):
    return jax.jit(partial(albef.encode_text, tiny.config))


@pytest.fixture(scope="module")
def fuse(tiny):
    return jax.jit(partial(albef.fuse, tiny.config))


def padded(batch, width, filler):
    """The texts with `width` tokens of rubbish behind them, masked."""
    rows = len(batch.text_ids)
    ids = np.where(batch.text_mask == 1, batch.text_ids, filler)
    ids = np.concatenate([ids, np.full((rows, width), filler, np.int32)], axis=1)
    return ids, np.concatenate([batch.text_mask, np.zeros((rows, width), np.int32)], axis=1)


@pytest.mark.parametrize("filler", [0, 77])
def test_padding_does_not_change_a_text(tiny, batch, encode, filler):
    plain = np.asarray(encode(tiny.params, batch.text_ids, batch.text_mask))
    longer = np.asarray(encode(tiny.params, *padded(batch, 3, filler)))[:, :6]
    seen = batch.text_mask == 1
    np.testing.assert_allclose(longer[seen], plain[seen], rtol=1e-5, atol=1e-6)
    for row, length in enumerate(batch.text_mask.sum(axis=1)[:2]):
        alone = encode(
            tiny.params, batch.text_ids[row : row + 1, :length], np.ones((1, length), np.int32)
        )
        np.testing.assert_allclose(alone[0], plain[row, :length], rtol=1e-5, atol=1e-6)


def test_padding_does_not_change_fusion(tiny, fuse):
    plain = np.asarray(fuse(tiny.params, HIDDEN, MASK, IMAGE_EMBEDS))
    rubbish = np.where(MASK[..., None] == 1, HIDDEN, 9.0)
    image_rubbish = np.concatenate([IMAGE_EMBEDS, 9 * np.ones_like(IMAGE_EMBEDS)], axis=1)
    image_mask = np.repeat([[1, 0]], 5, axis=1).repeat(4, axis=0).astype(np.int32)
    found = np.asarray(fuse(tiny.params, rubbish, MASK, image_rubbish, image_mask=image_mask))
    np.testing.assert_allclose(found[MASK == 1], plain[MASK == 1], rtol=1e-5, atol=1e-5)


def test_causal_texts_do_not_see_what_follows(tiny, batch):
    encode = jax.jit(partial(albef.encode_text, tiny.config, causal=True))
    mask = np.ones_like(batch.text_mask)
    changed = batch.text_ids.copy()
    changed[:, 4] += 1
    before = np.asarray(encode(tiny.params, batch.text_ids, mask))
    after = np.asarray(encode(tiny.params, changed, mask))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max(axis=(0, 2)).min() > 1e-3


def test_collected_states(tiny, batch):
    collect = jax.jit(partial(albef.encode_text, tiny.config, collect=True))
    output, states = collect(tiny.params, batch.text_ids, batch.text_mask)
    assert states.shape == (3, 8, 6, 24)
    np.testing.assert_array_equal(states[-1], output)
    tables = tiny.params["text_encoder"]["embeddings"]
    x = np.asarray(tables["word"]["embedding"], np.float64)[batch.text_ids]
    x = x + np.asarray(tables["position"]["embedding"])[:6] + tables["type"]["embedding"][0]
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    expected = normed * np.asarray(tables["norm"]["scale"]) + np.asarray(tables["norm"]["bias"])
    np.testing.assert_allclose(states[0], expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_taking_in_a_group():
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.standard_normal((6, 4, 2), np.float32)) for _ in range(2))
    index = jnp.asarray([[1, 1, 0], [2, 0, 2]])

    def plain(x):
        rows = (index + jnp.array([[0], [3]])).reshape(-1)
        return jnp.sum(jnp.sin(x[rows]) * weights)

    found = jax.grad(lambda x: jnp.sum(jnp.sin(take_in_group(x, index)) * weights))(x)
    np.testing.assert_allclose(found, jax.grad(plain)(x), rtol=1e-6, atol=1e-6)


def test_take_in_group():
    x = RNG.standard_normal((6, 2, 3), np.float32)
    index = np.array([[2, 2, 0], [1, 0, 1]], np.int32)
    found = take_in_group(jnp.asarray(x), jnp.asarray(index))
    np.testing.assert_array_equal(found, x[[2, 2, 0, 4, 3, 4]])


def one_call(config, params, hidden, image_embeds):
    return albef.fuse(
        config, params, hidden, jnp.asarray(MASK), image_embeds, negative_image=SWAPPED
    )


def four_calls(config, params, hidden, image_embeds):
    """Official: one pass a text, the last with gathered images."""
    images = [image_embeds] * 3 + [image_embeds[IMAGE]]
    rows = [
        albef.fuse(config, params, hidden[:, [row]], jnp.asarray(MASK[:, [row]]), image)
        for row, image in enumerate(images)
    ]
    return jnp.concatenate(rows, axis=1)


@pytest.fixture(scope="module")
def both_ways(tiny):
    """Output and gradients of the four rows as one call and as four calls."""
    weights = jnp.asarray(RNG.standard_normal(HIDDEN.shape, np.float32))

    def run(function):
        def loss(params, hidden, image_embeds):
            fused = function(tiny.config, params, hidden, image_embeds)
            return jnp.sum(weights * fused), fused

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
        params = {"fusion_encoder": tiny.params["fusion_encoder"]}
        return gradient(params, jnp.asarray(HIDDEN), jnp.asarray(IMAGE_EMBEDS))

    return run(one_call), run(four_calls)


def test_four_rows_are_four_calls(both_ways):
    (_, found), (_, expected) = both_ways
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # The images matter: the last row with its own image would be another number.
    assert np.abs(found[:, 3] - found[:, 2]).max() > 0.1


def test_gradients_of_four_rows_are_those_of_four_calls(both_ways):
    (found, _), (expected, _) = both_ways

    def compare(path, ours, theirs):
        scale = np.abs(theirs).max()
        where = jax.tree_util.keystr(path)
        if where.endswith("['key']['bias']"):  # zero but for rounding
            scale = 1.0
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * scale, err_msg=where)

    jax.tree.map_with_path(compare, found, expected)


def key(seed):
    return jax.random.key(seed, impl="rbg")  # compiles faster than the default


@pytest.fixture(scope="module")
def drop(tiny):
    """Text and fusion encoder with dropout, as functions of the key."""
    config = replace(tiny.config, dropout=0.3, attention_dropout=0.3)
    text = jax.jit(partial(albef.encode_text, config))
    fuse = jax.jit(partial(albef.fuse, config))
    hidden = np.repeat(HIDDEN[:, :1], 2, axis=1)  # twice the same text
    mask = np.repeat(MASK[:, :1], 2, axis=1)
    return {
        "text": lambda batch, key: text(
            tiny.params, batch.text_ids, batch.text_mask, dropout_key=key
        ),
        "fusion": lambda batch, key: fuse(tiny.params, hidden, mask, IMAGE_EMBEDS, dropout_key=key),
    }


@pytest.mark.parametrize("encoder", ["text", "fusion"])
def test_dropout_follows_its_key(drop, batch, encoder):
    run = partial(drop[encoder], batch)
    one, again, other = (np.asarray(run(key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_no_key_means_no_dropout(tiny, drop, batch, encode, fuse):
    plain = encode(tiny.params, batch.text_ids, batch.text_mask)
    np.testing.assert_allclose(drop["text"](batch, None), plain, rtol=1e-5, atol=1e-6)
    two = np.asarray(drop["fusion"](batch, None))
    np.testing.assert_allclose(two[:, 0], two[:, 1], rtol=1e-5, atol=1e-6)


def test_rows_drop_independently(drop, batch):
    two = np.asarray(drop["fusion"](batch, key(0)))
    assert np.abs(two[:, 0] - two[:, 1]).max() > 0.1
