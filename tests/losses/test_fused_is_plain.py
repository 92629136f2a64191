"""The fused objective against one pass after another: losses and every gradient."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses import pretraining
from albef_jax.losses.alignment import Keys
from albef_jax.losses.masked_lm import MaskedText
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import Inputs, Recipe
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from benchmarks.plain import plain_loss

ALPHA, QUEUE = 0.4, 12
TOLERANCE = 1e-10
NEGATIVES = Negatives(
    jnp.array([[1, 0, 3, 2, 7, 7, 1, 0]]),
    jnp.array([[3, 2, 1, 0, 0, 1, 5, 6]]),
    jnp.ones((1, 8), bool),
)


def problem(batch):
    """In numpy arrays."""
    rng = np.random.default_rng(1)
    selected = (rng.random(batch.text_ids.shape) < 0.3) & (batch.text_mask == 1)
    selected[:, 0] = False
    masked = MaskedText(np.where(selected, 103, batch.text_ids), selected)
    image = np.asarray(normalize(batch.image))
    features = rng.standard_normal((2, QUEUE, 8))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return Inputs(image, batch.text_ids, batch.text_mask, masked), Keys(*features)


def both(config, params, inputs, keys):
    """(losses, gradients) of the plain and of the fused objective."""
    recipe = Recipe(contrast_group=8, mlm_probability=0.3)
    teacher = jax.tree.map(lambda leaf: np.asarray(leaf) * 1.2 + 0.01, albef.teacher_params(params))

    def plain(params):
        losses, _ = plain_loss(config, params, teacher, inputs, keys, NEGATIVES, ALPHA)
        return losses["loss"], losses

    def fused(params):
        positions = pretraining.pack_masked(recipe, inputs.masked.selected)
        theirs = pretraining.teacher_forward(config, teacher, inputs, positions, None)
        ours = pretraining.student_forward(
            config, recipe, params, inputs, positions, theirs, keys, NEGATIVES, None
        )
        losses = pretraining.losses(ours, theirs, inputs, positions, ALPHA)
        return losses["loss"], losses

    for objective in (plain, fused):
        gradients, losses = jax.jit(jax.grad(objective, has_aux=True))(params)
        yield jax.tree.map(np.asarray, (losses, gradients))


def test_losses_and_gradients(tiny, batch):
    """In float64, which leaves nothing of rounding."""

    def cast(x):
        x = np.asarray(x)
        return jnp.asarray(np.float64(x) if np.issubdtype(x.dtype, np.floating) else x)

    with jax.enable_x64(True):
        params, inputs, keys = jax.tree.map(cast, (tiny.params, *problem(batch)))
        plain, fused = both(replace(tiny.config, dtype="float64"), params, inputs, keys)
    for name, expected in plain[0].items():
        assert expected.dtype == fused[0][name].dtype == "float64"
        assert fused[0][name] == pytest.approx(expected, rel=TOLERANCE), name
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain[1]))

    def compare(found, expected):
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * largest)

    jax.tree.map(compare, fused[1], plain[1])
