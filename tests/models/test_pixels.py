import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from albef_jax.models.pixels import MEAN, STD, normalize


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


def test_constants_are_the_published_ones():
    golden = Path(__file__).parents[1] / "golden" / "text" / "hyperparameters.json"
    transforms = json.loads(golden.read_text())["image_transforms"]["pretrain"][0]["transform"]
    (normalise,) = [item["args"] for item in transforms if item["op"] == "Normalize"]
    assert [list(MEAN), list(STD)] == normalise
