"""Two images to a text: pairs of fusion layers, one after the other, by hand."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import attention
from albef_jax.models.bert import FusionLayer
from albef_jax.models.two_image_fusion import fuse_pair, init_pair_encoder
from tests.helpers.tiny_model import drawn_like

RNG = np.random.default_rng(0)
TEXT = RNG.standard_normal((3, 6, 24), np.float32)
MASK = (np.arange(6) < np.array([[6], [4], [2]])).astype(np.int32)
LEFT, RIGHT = (RNG.standard_normal((3, 5, 32), np.float32) for _ in "lr")
WEIGHTS = RNG.standard_normal((3, 6, 24), np.float32)


@pytest.fixture(scope="module")
def params(tiny):
    return {"pair_encoder": drawn_like(partial(init_pair_encoder, tiny.config), 1)}


@pytest.fixture(scope="module")
def run(tiny, params):
    compiled = jax.jit(partial(fuse_pair, tiny.config))

    def run(text=TEXT, mask=MASK, left=LEFT, right=RIGHT):
        return np.asarray(compiled(params, text, mask, left, right))

    return run


@pytest.fixture(scope="module")
def fused(run):
    return run()


def by_hand(config, copies, left, right):
    """As officially: twice as many fusion layers, each with keys and values of its own."""
    x, bias = jnp.asarray(TEXT)[:, None], attention.self_bias(jnp.asarray(MASK), causal=False)
    module = FusionLayer(config, deterministic=True)
    for number in range(config.fusion_depth):
        for place, image in (("first", left), ("second", right)):
            layer = jax.tree.map(lambda leaf, number=number: leaf[number], copies[place])
            x = module.apply({"params": layer}, x, bias, image, None, None)
    return x[:, 0]


def with_own_projections(params):
    """The shared projections, copied into both layers of each pair."""
    layers = params["pair_encoder"]["layers"]
    shared = {name: layers[name] for name in ("key", "value")}
    return {
        place: {
            **layers[place],
            "cross_attention": {**layers[place]["cross_attention"], **shared},
        }
        for place in ("first", "second")
    }


@pytest.fixture(scope="module")
def both_ways(tiny, params):
    """Output and gradients, ours and by hand."""

    def ours(params, left, right):
        x = fuse_pair(tiny.config, params, TEXT, MASK, left, right)
        return jnp.sum(WEIGHTS * x), x

    def theirs(copies, left, right):
        x = by_hand(tiny.config, copies, left, right)
        return jnp.sum(WEIGHTS * x), x

    inputs = jnp.asarray(LEFT), jnp.asarray(RIGHT)
    return tuple(
        jax.jit(jax.grad(function, argnums=(0, 1, 2), has_aux=True))(tree, *inputs)
        for function, tree in ((ours, params), (theirs, with_own_projections(params)))
    )


def test_left_then_right_through_layers_that_share_projections(both_ways):
    (_, found), (_, expected) = both_ways
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_shared_projections_get_the_gradients_of_both_layers(both_ways):
    ((ours, *images), _), ((copies, *expected_images), _) = both_ways
    layers = ours["pair_encoder"]["layers"]
    for name in ("key", "value"):
        parts = [copies[place]["cross_attention"][name]["kernel"] for place in ("first", "second")]
        scale = np.abs(parts).max()
        assert min(np.abs(part).max() for part in parts) > 0.01 * scale
        np.testing.assert_allclose(layers[name]["kernel"], sum(parts), atol=1e-5 * scale)
    for found, expected in zip(images, expected_images, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_one_set_of_projections_for_each_pair(tiny, params):
    layers = params["pair_encoder"]["layers"]
    assert layers.keys() == {"key", "value", "first", "second"}
    for name in ("key", "value"):
        assert layers[name]["kernel"].shape == (2, 32, 24)
    fusion = tiny.params["fusion_encoder"]["layers"]
    for place in ("first", "second"):
        assert layers[place]["cross_attention"].keys() == {"query", "out", "norm"}
        assert layers[place].keys() == fusion.keys()
        kernel = np.asarray(layers[place]["self_attention"]["query"]["kernel"])
        assert np.abs(kernel[0] - kernel[1]).max() > 0.1


def test_the_order_of_the_images_matters(run, fused):
    negative_image = run(left=RIGHT, right=LEFT)
    assert np.abs(negative_image - fused).max(axis=(1, 2)).min() > 1e-3


@pytest.mark.parametrize("side, image", [("left", LEFT), ("right", RIGHT)])
def test_texts_see_their_own_images_alone(run, fused, side, image):
    other = image.copy()
    other[1] = -other[1]
    moved = np.abs(run(**{side: other}) - fused).max(axis=(1, 2)) > 1e-3
    assert moved.tolist() == [False, True, False]


def test_padding_is_not_seen(run, fused):
    rubbish = np.where(MASK[..., None] == 1, TEXT, 9.0)
    found = run(text=rubbish)
    np.testing.assert_allclose(found[MASK == 1], fused[MASK == 1], rtol=1e-5, atol=1e-5)
    assert np.abs(run(mask=np.ones_like(MASK)) - fused)[1:].max(axis=(1, 2)).min() > 1e-3


@pytest.fixture(scope="module")
def dropped(tiny, params):
    """With dropout, as a function of seed and of how layers are run."""

    @cache
    def compiled(**variant):
        config = replace(tiny.config, dropout=0.2, attention_dropout=0.2, **variant)
        return jax.jit(partial(fuse_pair, config))

    def run(seed, **variant):
        key = jax.random.key(seed, impl="rbg")
        return np.asarray(compiled(**variant)(params, TEXT, MASK, LEFT, RIGHT, key))

    return run


def test_dropout_follows_its_key(dropped, fused):
    one = dropped(1)
    np.testing.assert_array_equal(one, dropped(1))
    for other in (dropped(2), fused):
        assert np.abs(one - other).max() > 0.1


def test_recomputing_layers_changes_nothing(dropped):
    np.testing.assert_allclose(dropped(1, remat_fusion="full"), dropped(1), rtol=1e-5, atol=1e-5)


def test_fresh_parameters_are_float32_at_any_dtype(tiny):
    config = replace(tiny.config, dtype="bfloat16")
    tree = jax.eval_shape(partial(init_pair_encoder, config), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}


def test_bfloat16_is_near_float32(tiny, params, fused):
    config = replace(tiny.config, dtype="bfloat16")
    text, left, right = (jnp.asarray(x, jnp.bfloat16) for x in (TEXT, LEFT, RIGHT))
    low = jax.jit(partial(fuse_pair, config))(params, text, MASK, left, right)
    assert low.dtype == jnp.bfloat16
    error = np.linalg.norm(np.asarray(low, np.float32) - fused) / np.linalg.norm(fused)
    assert 0 < error < 0.02
