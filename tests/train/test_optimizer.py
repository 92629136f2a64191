import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.train.optimizer import adamw, decay_mask

STACKED = ("blocks", "layers")
RATES = (1e-3, 5e-4, 2e-3)


def published_exemption(path, leaf) -> bool:
    """1-D once unstacked, or a bias."""
    keys = [entry.key for entry in path]
    return leaf.ndim - any(key in STACKED for key in keys) == 1 or keys[-1] == "bias"


def test_decay_follows_the_official_rule(tiny):
    """By name on stacked layers, by dimensions as in the official code: the same parameters."""
    mask = decay_mask(tiny.params)
    expected = jax.tree.map_with_path(lambda *leaf: not published_exemption(*leaf), tiny.params)
    assert mask == expected


def test_what_decays_by_name(tiny):
    mask = decay_mask(tiny.params)
    assert mask["temperature"]
    assert mask["image_encoder"]["cls_token"]
    assert mask["image_encoder"]["pos_embed"]
    assert mask["image_encoder"]["patch_embed"] == {"kernel": True, "bias": False}
    assert mask["text_encoder"]["embeddings"]["position"] == {"embedding": True}
    assert mask["text_encoder"]["layers"]["norm"] == {"bias": False, "scale": False}
    assert mask["fusion_encoder"]["layers"]["cross_attention"]["key"]["kernel"]
    assert not mask["mlm_head"]["bias"]


def small_tree():
    rng = np.random.default_rng(0)
    return {
        "layer": {"kernel": rng.standard_normal((2, 3)), "bias": rng.standard_normal(3)},
        "temperature": np.float64(0.07),
    }


def oracle(params, gradients, decayed):
    """AdamW by its definition, one leaf, in float64."""
    first = second = 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        params = params - rate * (direction + 0.02 * decayed * params)
    return params


@pytest.fixture(scope="module")
def three_updates():
    params = small_tree()
    rng = np.random.default_rng(1)
    gradients = [
        jax.tree.map(lambda leaf: rng.standard_normal(np.shape(leaf)), params) for _ in RATES
    ]
    optimizer = adamw(lambda step: jnp.asarray(RATES)[step], 0.02)
    found = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    state = optimizer.init(found)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        gradient = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), gradient)
        updates, state = update(gradient, state, found)
        found = optax.apply_updates(found, updates)
    return params, gradients, found


def test_three_updates_with_a_schedule(three_updates):
    params, gradients, found = three_updates
    for decayed, pick in (
        (True, lambda tree: tree["layer"]["kernel"]),
        (False, lambda tree: tree["layer"]["bias"]),
        (True, lambda tree: tree["temperature"]),
    ):
        expected = oracle(pick(params), [pick(gradient) for gradient in gradients], decayed)
        np.testing.assert_allclose(pick(found), expected, rtol=1e-5, atol=1e-6)
        other = oracle(pick(params), [pick(gradient) for gradient in gradients], not decayed)
        assert np.abs(other - expected).max() > 1e-6


def test_a_scaled_module_moves_as_with_another_rate():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), small_tree())
    gradients = jax.tree.map(lambda leaf: jnp.cos(9 * leaf), params)

    def moved(rate, **options):
        optimizer = adamw(lambda step: jnp.float32(rate), 0.5, **options)
        state, found = optimizer.init(params), params
        for _ in range(3):
            updates, state = jax.jit(optimizer.update)(gradients, state, found)
            found = optax.apply_updates(found, updates)
        return found

    scaled = moved(1e-2, lr_scale={("temperature", None): 0.1})
    whole, tenth = moved(1e-2), moved(1e-3)
    np.testing.assert_allclose(scaled["temperature"], tenth["temperature"], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, scaled["layer"], whole["layer"])
    assert abs(whole["temperature"] - tenth["temperature"]) > 1e-3


def test_without_scales_the_state_is_that_of_adamw():
    params = jax.tree.map(jnp.asarray, small_tree())
    plain = optax.adamw(lambda step: jnp.float32(1e-3), mask=decay_mask).init(params)
    ours = adamw(lambda step: jnp.float32(1e-3), 0.02).init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(plain)


def test_first_layers_have_a_rate_of_their_own():
    params = {
        "image_encoder": {"cls_token": jnp.ones(2), "blocks": jnp.ones((3, 2)), "norm": jnp.ones(2)}
    }
    optimizer = adamw(
        lambda step: jnp.float32(1.0),
        0.0,
        {("image_encoder", 1): 0.1, ("image_encoder", 2): 0.2, ("image_encoder", None): 0.5},
    )
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    moved = {name: -leaf for name, leaf in updates["image_encoder"].items()}
    np.testing.assert_allclose(moved["blocks"][:, 0], [0.1, 0.2, 0.5], rtol=1e-5)
    np.testing.assert_allclose(moved["cls_token"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(moved["norm"], 0.5, rtol=1e-5)


def test_modules_without_a_gradient_are_neither_moved_nor_decayed():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), small_tree())
    params["still"] = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    gradients = jax.tree.map(jnp.ones_like, params)
    gradients["still"] = jax.tree.map(jnp.zeros_like, params["still"])
    found = {}
    for unused in ((), ("still",)):
        optimizer = adamw(lambda step: jnp.float32(1e-3), 0.5, unused=unused)
        updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
        found[unused] = optax.apply_updates(params, updates)
    everything, some = found.values()
    # Without a gradient, weight decay alone would move them.
    assert np.abs(everything["still"]["kernel"] - 1).max() > 1e-4
    jax.tree.map(np.testing.assert_array_equal, some["still"], params["still"])
    jax.tree.map(np.testing.assert_array_equal, some["layer"], everything["layer"])
