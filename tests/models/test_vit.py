from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.config import PRESETS
from albef_jax.models.vit import EPSILON, ImageEncoder

IMAGE = np.random.default_rng(0).standard_normal((3, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def encode(tiny):
    return jax.jit(partial(albef.encode_image, tiny.config, collect=True))


def test_patches_are_in_reading_order(tiny, encode):
    _, before = encode(tiny.params, IMAGE)
    changed = IMAGE.copy()
    changed[:, 8:, :8] += 1  # the lower left patch is number 2 of 4
    _, after = encode(tiny.params, changed)
    moved = np.any(before["patch_embed"] != after["patch_embed"], axis=(0, 2))
    assert moved.tolist() == [False, False, True, False]


def test_a_patch_is_a_linear_function_of_its_pixels(tiny, encode):
    layer = tiny.params["image_encoder"]["patch_embed"]
    _, inside = encode(tiny.params, IMAGE)
    kernel = np.asarray(layer["kernel"], np.float64).reshape(-1, 32)
    expected = IMAGE[:, :8, 8:].reshape(3, -1) @ kernel + np.asarray(layer["bias"])
    np.testing.assert_allclose(inside["patch_embed"][:, 1], expected, rtol=1e-4, atol=1e-4)


def test_the_output_is_the_normed_last_block(tiny, encode):
    output, inside = encode(tiny.params, IMAGE)
    assert output.shape == (3, 5, 32)
    assert inside["blocks"].shape == (2, 3, 5, 32)
    norm = tiny.params["image_encoder"]["norm"]
    last = np.asarray(inside["blocks"][-1], np.float64)
    centred = last - last.mean(-1, keepdims=True)
    normed = centred / np.sqrt(last.var(-1, keepdims=True) + EPSILON)
    expected = normed * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_collecting_changes_nothing(tiny, encode):
    plain = jax.jit(partial(albef.encode_image, tiny.config))(tiny.params, IMAGE)
    np.testing.assert_allclose(plain, encode(tiny.params, IMAGE)[0], rtol=1e-5, atol=1e-6)


def test_images_do_not_see_each_other(tiny, encode):
    changed = IMAGE.copy()
    changed[1] = 0
    before, after = encode(tiny.params, IMAGE)[0], encode(tiny.params, changed)[0]
    moved = np.any(np.asarray(before != after), axis=(1, 2))
    assert moved.tolist() == [False, True, False]


def test_the_class_token_comes_first_and_sees_every_patch(tiny):
    config = replace(tiny.config, image_depth=1)
    params = {"image_encoder": dict(tiny.params["image_encoder"])}
    first = jax.tree.map(lambda leaf: leaf[:1], params["image_encoder"]["blocks"])
    params["image_encoder"]["blocks"] = first

    def class_token(image):
        return jnp.sum(albef.encode_image(config, params, image)[:, 0] ** 3)

    gradient = np.asarray(jax.jit(jax.grad(class_token))(jnp.asarray(IMAGE)))
    assert np.abs(gradient).max(axis=-1).min() > 0


def test_the_attention_gain_sharpens_initial_queries_and_keys_alone():
    plain = replace(PRESETS["tiny"], image_size=32, image_depth=1)
    image = jnp.zeros((1, 32, 32, 3))
    usual, sharp = (
        ImageEncoder(replace(plain, image_attention_gain=gain)).init(jax.random.key(0), image)
        for gain in (1.0, 3.0)
    )
    width = plain.image_width
    ratio = jax.tree.map(lambda a, b: b / jnp.where(a == 0, 1, a), usual, sharp)["params"]
    qkv = ratio["blocks"]["qkv"].pop("kernel")
    np.testing.assert_allclose(qkv[..., : 2 * width], 3, rtol=1e-5)
    np.testing.assert_allclose(qkv[..., 2 * width :], 1, rtol=1e-5)
    assert all(set(np.unique(leaf)) <= {0.0, 1.0} for leaf in jax.tree.leaves(ratio))
