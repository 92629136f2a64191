from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from albef_jax.models.config import PRESETS
from albef_jax.models.vit import ImageEncoder
from albef_jax.observability.flops import image_encoder
from tests.helpers.tiny_model import drawn_like

CONFIG = replace(PRESETS["tiny"], image_size=32, patch_size=8, image_width=32, image_depth=1)
STEM = replace(CONFIG, image_stem="convolutions")
IMAGE = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)


def fresh(config):
    return drawn_like(lambda key: ImageEncoder(config).init(key, IMAGE)["params"], 0)


def patches(config, params, image):
    """The patch embedding `[B, 4, 4, D]`."""
    encode = partial(ImageEncoder(config).apply, method="patches")
    return np.asarray(encode({"params": params}, image)).reshape(len(image), 4, 4, -1)


@pytest.mark.parametrize("patch_size, channels", [(4, (16, 32)), (16, (4, 8, 16, 32))])
def test_channels_double_up_to_the_width(patch_size, channels):
    config = replace(STEM, patch_size=patch_size)
    assert config.stem_channels == channels
    params = fresh(config)
    kernels = [params["stem"][f"conv_{i}"]["kernel"] for i in range(len(channels) - 1)]
    shapes = [kernel.shape for kernel in (*kernels, params["patch_embed"]["kernel"])]
    assert shapes == [(3, 3, *pair) for pair in zip((3, *channels), channels, strict=False)]
    tokens = jax.eval_shape(ImageEncoder(config).apply, {"params": params}, IMAGE)
    assert tokens.shape == (2, config.image_tokens, 32)


def test_a_patch_sees_its_surroundings_and_no_more():
    params = fresh(STEM)
    changed = IMAGE.copy()
    changed[:, 12, 12] += 1  # inside the patch in row 1 and column 1
    moved = np.any(patches(STEM, params, changed) != patches(STEM, params, IMAGE), axis=(0, 3))
    assert moved[1, 1]
    assert not moved[3].any() and not moved[:, 3].any()
    changed = IMAGE.copy()
    changed[:, 7, 7] += 1  # the last pixel of the patch before
    moved = np.any(patches(STEM, params, changed) != patches(STEM, params, IMAGE), axis=(0, 3))
    assert moved[1, 1]


def test_an_image_is_independent_of_the_others():
    params = fresh(STEM)
    alone = patches(STEM, params, IMAGE[:1])
    np.testing.assert_allclose(patches(STEM, params, IMAGE)[:1], alone, rtol=1e-5, atol=1e-6)


def test_the_stem_counts_its_operations():
    wide = replace(STEM, image_width=768, image_size=128)
    image = jax.ShapeDtypeStruct((2, 128, 128, 3), "float32")
    params = jax.eval_shape(partial(ImageEncoder(wide).init, jax.random.key(0)), image)
    encode = jax.jit(partial(ImageEncoder(wide).apply, method="patches"))
    counted = encode.lower(params, image).cost_analysis()["flops"]
    # XLA counts GELU, too, and no products with the zeros around an image.
    assert image_encoder(wide)[0] * 2 == pytest.approx(counted, rel=0.05)
    assert image_encoder(CONFIG)[0] == 2 * 16 * 3 * 64 * 32


def test_the_stem_is_the_only_difference():
    ours, published = fresh(STEM), fresh(CONFIG)
    assert ours.keys() - published.keys() == {"stem"}
    same = jax.tree.map(lambda a, b: a.shape == b.shape, ours["blocks"], published["blocks"])
    assert all(jax.tree.leaves(same))
