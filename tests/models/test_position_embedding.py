from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models.config import PRESETS
from albef_jax.models.position_embedding import resize_position_embedding, sincos_positions
from albef_jax.models.vit import ImageEncoder


def embedding(side: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(side).standard_normal((1, side**2 + 1, width), np.float32)


def resize(array: np.ndarray, patches: int) -> np.ndarray:
    return np.asarray(resize_position_embedding(jnp.asarray(array), patches))


def test_equal_size_changes_nothing():
    np.testing.assert_array_equal(resize(embedding(4), 16), embedding(4))


@pytest.mark.parametrize("patches", [9, 36, 64])
def test_the_class_token_stays(patches):
    found = resize(embedding(4), patches)
    assert found.shape == (1, patches + 1, 3)
    np.testing.assert_array_equal(found[:, 0], embedding(4)[:, 0])


def test_a_constant_grid_stays_constant():
    np.testing.assert_allclose(resize(np.full((1, 17, 2), 3.0), 49), 3.0, rtol=1e-6)


def cubic(distance: float, a: float = -0.75) -> float:
    """Keys' convolution kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def matrix(old: int, new: int) -> np.ndarray:
    """Resampling along one axis, `[new, old]`: pixel centres, the border repeated."""
    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for cell in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[row, np.clip(cell, 0, old - 1)] += cubic(centre - cell)
    return weights


@pytest.mark.parametrize("old, new", [(4, 6), (4, 8), (6, 4)])
def test_resampling_along_both_axes(old, new):
    array = embedding(old)
    grid = array[0, 1:].reshape(old, old, 3).astype(np.float64)
    expected = np.einsum("ij,kl,jlc->ikc", matrix(old, new), matrix(old, new), grid)
    found = resize(array, new**2)[0, 1:].reshape(new, new, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("tokens, patches", [(17, 15), (16, 16), (18, 16)])
def test_grids_must_be_square(tokens, patches):
    with pytest.raises(ValueError, match=f"{tokens - 1} and {patches} patches.*square"):
        resize(np.zeros((1, tokens, 2), np.float32), patches)


def test_sincos_positions_tell_rows_and_columns():
    found = np.asarray(sincos_positions(jax.random.key(0), (1, 13 * 13 + 1, 8)))[0]
    assert not found[0].any()
    grid = found[1:].reshape(13, 13, 8)
    row, column = np.mgrid[:13, :13]
    expected = [np.sin(column), np.sin(column / 100), np.cos(column), np.cos(column / 100)]
    expected += [np.sin(row), np.sin(row / 100), np.cos(row), np.cos(row / 100)]
    np.testing.assert_allclose(grid, np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 17, 6), (1, 16, 8)])
def test_sincos_positions_need_a_square_and_a_multiple_of_four(shape):
    with pytest.raises(ValueError, match="multiple of 4, and the patches a square"):
        sincos_positions(jax.random.key(0), shape)


def test_an_encoder_starts_from_the_positions_asked_for():
    config = replace(PRESETS["tiny"], image_size=32, image_depth=1, image_positions="sincos")
    params = ImageEncoder(config).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    shape = (1, config.image_tokens, config.image_width)
    np.testing.assert_array_equal(params["pos_embed"], sincos_positions(jax.random.key(1), shape))
