"""Text assignment: what is drawn, how often, and that the drawn images are the ones shown."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chi2

from albef_jax.losses.text_assignment import (
    FIRST,
    NEITHER,
    SECOND,
    TEMPERATURE,
    Assignment,
    draw,
    forward,
    image_similarities,
)
from albef_jax.models import albef
from albef_jax.models.classifiers import assignment_logits
from albef_jax.models.primitives import normalize
from albef_jax.models.two_image_fusion import fuse_pair, init_pair_encoder
from tests.helpers.draws import draw_assignment
from tests.helpers.tiny_model import drawn_like

DRAWS, G, SIZE = 40_000, 2, 4
OWN = np.arange(SIZE)
RNG = np.random.default_rng(0)
FROZEN = ("image_proj", "text_proj", "temperature")
LOGITS = RNG.standard_normal((G, SIZE, SIZE), np.float32)


@jax.jit
def many_draws(logits):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return jax.vmap(lambda key: draw_assignment(key, logits))(keys)


@pytest.fixture(scope="module")
def drawn():
    return jax.tree.map(np.asarray, many_draws(jnp.asarray(LOGITS)))


@pytest.fixture(scope="module")
def weights():
    """Each image's share as the first negative, `[G, g, g]`; the own one has none."""
    return softmax(np.where(np.eye(SIZE), -np.inf, np.float64(LOGITS)), axis=-1)


def test_each_answer_is_right_a_third_of_the_time(drawn):
    for label in (FIRST, SECOND, NEITHER):
        shares = np.mean(drawn.label == label, axis=0)
        # Four and a half deviations of one share.
        assert np.abs(shares - 1 / 3).max() < 4.5 * (2 / 9 / DRAWS) ** 0.5
    assert set(np.unique(drawn.label)) == {0, 1, 2}


def test_the_label_says_where_the_own_image_is(drawn):
    np.testing.assert_array_equal(drawn.first == OWN, drawn.label == FIRST)
    np.testing.assert_array_equal(drawn.second == OWN, drawn.label == SECOND)


def test_the_two_images_always_differ(drawn):
    assert not np.any(drawn.first == drawn.second)
    for shown in drawn[:2]:
        assert (shown.min(), shown.max()) == (0, SIZE - 1)


def chi_square(counts, shares):
    """The statistic over the places that can be drawn, `[..., places]`."""
    expected = shares * counts.sum(axis=-1, keepdims=True)
    possible = expected > 0
    assert not np.any(counts[~possible])
    return np.sum((counts - expected)[possible] ** 2 / expected[possible])


@pytest.mark.parametrize("label", [FIRST, SECOND])
def test_a_negative_beside_the_own_image_follows_the_weights(drawn, weights, label):
    other = drawn.second if label == FIRST else drawn.first
    hits = (other[..., None] == np.arange(SIZE)) & (drawn.label == label)[..., None]
    # Two free shares in each of eight rows.
    assert chi_square(hits.sum(axis=0), weights) < chi2.ppf(0.999, 2 * G * SIZE)


def test_two_negatives_are_drawn_one_after_the_other(drawn, weights):
    """Without replacement: the second among what the first left over."""
    one, other = weights[..., :, None], weights[..., None, :]
    shares = np.where(np.eye(SIZE), 0, one * other / np.where(one < 1, 1 - one, 1))
    np.testing.assert_allclose(shares.sum(axis=(-1, -2)), 1)
    pairs = drawn.first * SIZE + drawn.second
    hits = (pairs[..., None] == np.arange(SIZE**2)) & (drawn.label == NEITHER)[..., None]
    statistic = chi_square(hits.sum(axis=0), shares.reshape(G, SIZE, -1))
    # Six ordered pairs, five of them free, in each of eight rows.
    assert statistic < chi2.ppf(0.999, 5 * G * SIZE)


@pytest.mark.parametrize("neighbour", [1, SIZE], ids=["of the group", "of the other group"])
def test_texts_are_drawn_for_independently(drawn, neighbour):
    """A text and its neighbour: labels, and negatives where neither is shown its own image."""
    labels, negatives = (
        x.reshape(DRAWS, -1)[:, [0, neighbour]] for x in (drawn.label, drawn.first)
    )
    assert abs(np.corrcoef(labels.T)[0, 1]) < 4.5 * DRAWS**-0.5
    both = negatives[np.all(labels == NEITHER, axis=1)]
    for one, other in np.ndindex(SIZE, SIZE):
        together = np.mean(np.all(both == (one, other), axis=1))
        apart = np.prod(np.mean(both == (one, other), axis=0))
        assert together == pytest.approx(apart, abs=4.5 * 0.5 * len(both) ** -0.5)


def test_groups_do_not_see_each_other():
    other = LOGITS.copy()
    other[1] = -other[1]
    keys = jax.random.split(jax.random.key(7), 50)
    draw = jax.jit(jax.vmap(draw_assignment, in_axes=(0, None)))
    one, two = draw(keys, jnp.asarray(LOGITS)), draw(keys, jnp.asarray(other))
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    assert np.any(one.first[:, 1] != two.first[:, 1])


@pytest.mark.parametrize("value", [0.0, 1e4, -1e9, 1e38])
def test_equal_similarities_are_drawn_equally_often(value):
    """However large: the noise must not round away."""
    found = jax.tree.map(np.asarray, many_draws(jnp.full((G, SIZE, SIZE), value)))
    shares = np.mean(found.first[..., None] == np.arange(SIZE), axis=0)
    expected = np.where(np.eye(SIZE), 1 / 3, 2 / 9)
    np.testing.assert_allclose(shares, np.broadcast_to(expected, shares.shape), atol=0.012)


def test_a_huge_own_similarity_is_excluded_all_the_same():
    logits = jnp.asarray(LOGITS + 14 * np.eye(SIZE, dtype=np.float32))
    found = jax.tree.map(np.asarray, many_draws(logits))
    np.testing.assert_array_equal(found.first == OWN, found.label == FIRST)
    np.testing.assert_array_equal(found.second == OWN, found.label == SECOND)


def test_draws_follow_their_key():
    one, again, other = (
        draw_assignment(jax.random.key(seed), jnp.asarray(LOGITS)) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert any(np.any(ours != theirs) for ours, theirs in zip(one, other, strict=True))


def test_similarities_are_cosines_over_a_constant_temperature():
    feat = RNG.standard_normal((6, 4), np.float32)
    found = image_similarities(jnp.asarray(feat), 2)
    assert found.shape == (2, 3, 3)
    assert TEMPERATURE == 0.07
    for group, row, column in np.ndindex(2, 3, 3):
        expected = feat[3 * group + row] @ feat[3 * group + column] / 0.07
        assert float(found[group, row, column]) == pytest.approx(expected, rel=1e-4)


SHOWN = Assignment(
    jnp.array([[0, 2, 2, 1], [1, 1, 3, 0]]),
    jnp.array([[1, 1, 0, 2], [0, 2, 2, 3]]),
    jnp.array([[0, 1, 0, 2], [2, 0, 1, 1]]),
)


@pytest.fixture(scope="module")
def params(tiny):
    head = {
        "kernel": jnp.asarray(RNG.standard_normal((24, 3), np.float32)),
        "bias": jnp.asarray(RNG.standard_normal(3), jnp.float32),
    }
    return {
        **{name: tiny.params[name] for name in ("image_encoder", "text_encoder", *FROZEN)},
        "pair_encoder": drawn_like(partial(init_pair_encoder, tiny.config), 1),
        "ta_head": head,
    }


@pytest.fixture(scope="module")
def inputs(batch):
    image = normalize(jnp.asarray(batch.image))
    return image, jnp.asarray(batch.text_ids), jnp.asarray(batch.text_mask)


@pytest.fixture(scope="module")
def shown(tiny, params, inputs):
    """The forward pass with what is shown given: outputs, and gradients of the small modules."""
    small = {name: params[name] for name in (*FROZEN, "ta_head")}

    def loss(small):
        outputs = forward(tiny.config, SIZE, {**params, **small}, *inputs, SHOWN, None)
        return jnp.sum(jnp.sin(outputs[0])) + jnp.sum(outputs[2]), outputs

    gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(small)
    return jax.device_get((outputs, gradients))


def test_texts_are_judged_with_the_images_they_are_shown(tiny, params, inputs, shown):
    places = [(np.asarray(index) + np.array([[0], [SIZE]])).reshape(-1) for index in SHOWN[:2]]

    @jax.jit
    def official(params):
        """Images gathered by their place in the batch, and encoded as often as shown."""
        image, text_ids, mask = inputs
        first, second = (albef.encode_image(tiny.config, params, image[p]) for p in places)
        text = albef.encode_text(tiny.config, params, text_ids, mask)
        fused = fuse_pair(tiny.config, params, text, mask, first, second)
        return assignment_logits(params, fused[:, 0])

    (logits, assignment, _), _ = shown
    np.testing.assert_allclose(logits, official(params), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, assignment, SHOWN)


def test_similarities_are_those_of_the_images(tiny, params, inputs, shown):
    image = jax.jit(lambda params: albef.encode_image(tiny.config, params, inputs[0]))(params)
    feat = np.asarray(image[:, 0]) @ params["image_proj"]["kernel"] + params["image_proj"]["bias"]
    feat = np.asarray(feat / np.linalg.norm(feat, axis=1, keepdims=True))
    expected = [feat[rows] @ feat[rows].T / TEMPERATURE for rows in (slice(4), slice(4, 8))]
    np.testing.assert_allclose(shown[0][2], expected, rtol=1e-4, atol=1e-4)


def test_what_only_draws_gets_no_gradient(shown):
    """As official: the projections and the temperature never change."""
    _, gradients = shown
    assert np.all(np.abs(gradients.pop("ta_head")["bias"]) > 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))
    assert set(gradients) == set(FROZEN)


def test_with_a_key_the_images_are_drawn_by_similarity(tiny, params, inputs):
    key = jax.random.key(5)

    @jax.jit
    def run(params):
        shown = draw(key, len(inputs[1]) // SIZE, SIZE)
        _, assignment, similarities = forward(tiny.config, SIZE, params, *inputs, shown, None)
        return assignment, similarities

    assignment, similarities = run(params)
    expected = draw_assignment(key, similarities)
    jax.tree.map(np.testing.assert_array_equal, assignment, expected)
