"""How layers are run must not change what they compute."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from albef_jax.models import albef
from albef_jax.models.scan import recomputed

VARIANTS = {
    "plain": {},
    "projections kept": {"remat_fusion": "dots"},
    "nothing kept": {"remat_fusion": "full"},
    "unrolled beyond the last layer": {"unroll": 5},
}
RNG = np.random.default_rng(0)
HIDDEN = RNG.standard_normal((2, 2, 6, 24), np.float32)
IMAGE_EMBEDS = RNG.standard_normal((2, 5, 32), np.float32)


def fused_and_gradients(config, params):
    """The fusion stack, the one with most inputs, under dropout."""
    mask, negative_image = jnp.ones((2, 2, 6), jnp.int32), jnp.array([[1, 0]])
    key = jax.random.key(0, impl="rbg")  # compiles faster than the default

    def loss(params, image_embeds):
        fused = albef.fuse(
            config,
            params,
            HIDDEN,
            mask,
            image_embeds,
            negative_image=negative_image,
            dropout_key=key,
        )
        return jnp.mean(jnp.sin(fused)), fused

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, fused), gradients = gradient({"fusion_encoder": params["fusion_encoder"]}, IMAGE_EMBEDS)
    return fused, gradients


@pytest.fixture(scope="module")
def results(tiny):
    config = replace(tiny.config, dropout=0.2, attention_dropout=0.2)
    return {
        name: fused_and_gradients(replace(config, **variant), tiny.params)
        for name, variant in VARIANTS.items()
    }


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "plain"])
def test_outputs(results, name):
    np.testing.assert_allclose(results[name][0], results["plain"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "plain"])
def test_gradients(results, name):
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(results["plain"][1]))
    assert scale > 1e-3

    def compare(found, expected):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale)

    jax.tree.map(compare, results[name][1], results["plain"][1])


@pytest.mark.parametrize("looped", [True, False])
def test_what_is_computed_again_is_kept_apart_where_there_is_no_loop(looped):
    """Else XLA may find the forward pass's results and keep them after all."""
    layer = recomputed(nn.Dense, "full", looped)(3)
    params = layer.init(jax.random.key(0), HIDDEN)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(layer.apply(params, HIDDEN)))))
    assert ("optimization_barrier" in gradient.lower(params).as_text()) != looped
