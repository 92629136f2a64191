"""Keys and values of images computed once are those computed in passing."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.bert import KeysValues

RNG = np.random.default_rng(0)
IMAGE_EMBEDS = RNG.standard_normal((3, 5, 32), np.float32)
TEXT = RNG.standard_normal((3, 4, 6, 24), np.float32)  # [B, R, T, D]
MASK = (np.arange(6) < RNG.integers(2, 7, (3, 4, 1))).astype(np.int32)
IMAGE_MASK = (np.arange(5) < np.array([[5], [4], [2]])).astype(np.int32)


@pytest.fixture(scope="module")
def project(tiny):
    return jax.jit(partial(albef.image_keys_values, tiny.config))


@pytest.fixture(scope="module")
def fuse(tiny):
    compiled = jax.jit(partial(albef.fuse, tiny.config, tiny.params, TEXT, MASK))

    def fuse(image_embeds, image_mask=None, keys_values=None):
        return compiled(image_embeds, image_mask=image_mask, keys_values=keys_values)

    return fuse


@pytest.mark.parametrize("image_mask", [None, IMAGE_MASK], ids=["no mask", "mask"])
def test_fusion_is_the_same_from_keys_and_values(tiny, project, fuse, image_mask):
    expected = fuse(IMAGE_EMBEDS, image_mask=image_mask)
    keys_values = project(tiny.params, IMAGE_EMBEDS)
    found = fuse(None, image_mask=image_mask, keys_values=keys_values)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_they_are_linear_in_the_image_tokens_layer_by_layer(tiny, project):
    found = project(tiny.params, IMAGE_EMBEDS)
    cross = tiny.params["fusion_encoder"]["layers"]["cross_attention"]
    for name, array in zip(KeysValues._fields, found, strict=True):
        assert array.shape == (2, 3, 5, 2, 12)  # [L, B, N, H, K]
        kernel, bias = (np.asarray(cross[name][part], np.float64) for part in ("kernel", "bias"))
        for layer, image, token in np.ndindex(2, 3, 5):
            expected = IMAGE_EMBEDS[image, token] @ kernel[layer] + bias[layer]
            np.testing.assert_allclose(
                np.ravel(array[layer, image, token]), expected, rtol=1e-4, atol=1e-5
            )


def test_a_subset_of_the_images_later(tiny, project, fuse):
    """What re-ranking relies on: an image's keys and values do not depend on its neighbours."""
    chosen = np.array([2, 0, 2])
    all_of_them = project(tiny.params, IMAGE_EMBEDS)
    found = fuse(None, keys_values=jax.tree.map(lambda x: x[:, chosen], all_of_them))
    np.testing.assert_allclose(found, fuse(IMAGE_EMBEDS[chosen]), rtol=1e-5, atol=1e-5)
    assert np.abs(found - fuse(IMAGE_EMBEDS)).max() > 0.1


def test_in_bfloat16(tiny):
    config = replace(tiny.config, dtype="bfloat16")
    image, text = (jnp.asarray(x, jnp.bfloat16) for x in (IMAGE_EMBEDS, TEXT))

    @jax.jit
    def both(params):
        keys_values = albef.image_keys_values(config, params, image)
        once = albef.fuse(config, params, text, MASK, None, keys_values=keys_values)
        return keys_values, once, albef.fuse(config, params, text, MASK, image)

    keys_values, *fused = both(tiny.params)
    assert {x.dtype for x in (*keys_values, *fused)} == {jnp.dtype("bfloat16")}
    found, expected = (np.asarray(x, np.float64) for x in fused)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.01
