import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models.primitives import MEAN, STD, initial, normalize


def test_the_official_deviation_at_the_official_width():
    weights = initial(768)(jax.random.key(0), (768, 768))
    assert np.std(weights) == pytest.approx(0.02, rel=0.01)
    assert np.abs(np.mean(weights)) < 1e-4
    # Normal, not truncated: 0.27 % beyond three deviations.
    assert np.mean(np.abs(weights) > 0.06) == pytest.approx(0.0027, rel=0.1)


@pytest.mark.parametrize("width", [24, 128, 1024])
def test_a_layer_passes_on_the_same_signal_at_other_widths(width):
    inputs = np.random.default_rng(0).standard_normal((4000, width), np.float32)
    outputs = inputs @ np.asarray(initial(width)(jax.random.key(0), (width, width)))
    assert np.std(outputs) == pytest.approx(0.02 * 768**0.5, rel=0.05)


def test_fresh_parameters(fresh_state):
    params, text, image = fresh_state.params, 0.02 * 32**0.5, 0.02 * 24**0.5
    layers, blocks = params["text_encoder"]["layers"], params["image_encoder"]["blocks"]
    word = params["text_encoder"]["embeddings"]["word"]["embedding"]
    assert np.std(word) == pytest.approx(text, rel=0.06)
    assert np.std(layers["intermediate"]["kernel"]) == pytest.approx(text, rel=0.06)
    assert np.std(blocks["qkv"]["kernel"]) == pytest.approx(image, rel=0.06)
    assert np.std(params["image_encoder"]["pos_embed"]) == pytest.approx(image, rel=0.2)
    assert not np.any(blocks["qkv"]["bias"])
    assert np.all(np.asarray(blocks["norm1"]["scale"]) == 1)
    # The layers of a stack start differently.
    kernel = np.asarray(layers["intermediate"]["kernel"])
    assert np.corrcoef(kernel[0].ravel(), kernel[1].ravel())[0, 1] < 0.2
    assert params["temperature"] == pytest.approx(0.07)


def test_normalize_by_channel():
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    found = normalize(jnp.asarray(image))
    assert found.dtype == jnp.float32
    expected = (image.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_mean_colour_becomes_zero():
    grey = np.round(np.array(MEAN) * 255).astype(np.uint8)
    found = normalize(jnp.asarray(np.broadcast_to(grey, (1, 2, 2, 3))))
    assert np.abs(found).max() < 0.5 / 255 / min(STD) + 1e-6


def test_constants_are_the_official_ones():
    golden = Path(__file__).parents[1] / "golden" / "text" / "hyperparameters.json"
    transforms = json.loads(golden.read_text())["image_transforms"]["pretrain"][0]["transform"]
    (normalise,) = [item["args"] for item in transforms if item["op"] == "Normalize"]
    assert [list(MEAN), list(STD)] == normalise


def test_gains_scale_equal_parts_of_the_output_alone():
    usual = initial(128)(jax.random.key(0), (16, 12))
    scaled = initial(128, (3.0, 3.0, 1.0))(jax.random.key(0), (16, 12))
    np.testing.assert_allclose(scaled[:, :8], 3 * usual[:, :8], rtol=1e-6)
    np.testing.assert_array_equal(scaled[:, 8:], usual[:, 8:])
