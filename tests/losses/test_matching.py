import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.losses.matching import exclude_self, itm_loss
from tests.helpers.draws import draw_negatives

DRAWS = 20_000


def similarities(seed, groups=2, size=5):
    return 2 * np.random.default_rng(seed).standard_normal((groups, size, size), np.float32)


@jax.jit
def many_draws(text_to_image, image_to_text, excluded):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return jax.vmap(lambda key: draw_negatives(key, text_to_image, image_to_text, excluded))(keys)


def shares(drawn, size):
    """How often each place was drawn, `[G, g, g]`."""
    return np.mean(np.asarray(drawn)[..., None] == np.arange(size), axis=0)


def expected_shares(logits, excluded):
    allowed = np.where(excluded, -np.inf, logits.astype(np.float64))
    return softmax(allowed, axis=-1)


@pytest.fixture(scope="module")
def drawn():
    """Draws under the exclusions of pre-training and one further excluded pair."""
    excluded = np.array(exclude_self(2, 5))
    excluded[0, 1, 3] = excluded[0, 3, 1] = True
    logits = similarities(0), similarities(1)
    return logits, excluded, many_draws(*map(jnp.asarray, (*logits, excluded)))


@pytest.mark.parametrize("side, direction", [("image", 0), ("text", 1)])
def test_negatives_follow_the_softmax_of_their_direction(drawn, side, direction):
    logits, excluded, negatives = drawn
    expected = expected_shares(logits[direction], excluded)
    found = shares(getattr(negatives, side), 5)
    assert not np.any(found[excluded])
    deviations = (found - expected) / np.sqrt(expected * (1 - expected) / DRAWS + 1e-12)
    assert np.abs(deviations).max() < 4.5
    # Chi-square over 2 * 5 rows of at most 4 places: 29 degrees of freedom, 99.9 % below 59.
    allowed = ~excluded
    chi_square = DRAWS * np.sum((found - expected)[allowed] ** 2 / expected[allowed])
    assert chi_square < 59


def test_images_and_texts_are_drawn_independently(drawn):
    _, _, negatives = drawn
    image, text = np.asarray(negatives.image)[:, 0, 0], np.asarray(negatives.text)[:, 0, 0]
    together = np.mean((image == 2) & (text == 2))
    assert together == pytest.approx(np.mean(image == 2) * np.mean(text == 2), abs=0.01)


@pytest.mark.parametrize("value", [0.0, 1000.0, -1000.0])
def test_equal_similarities_are_drawn_equally_often(value):
    """1000 is the largest there is: cosine 1 at temperature 0.001."""
    logits = jnp.full((2, 5, 5), value)
    negatives = many_draws(logits, logits, exclude_self(2, 5))
    for side in (negatives.image, negatives.text):
        others = np.broadcast_to((1 - np.eye(5)) / 4, (2, 5, 5))
        np.testing.assert_allclose(shares(side, 5), others, atol=0.015)


@pytest.mark.parametrize("value", [1e9, -1e9, 1e38, -1e38])
def test_degenerate_similarities_still_give_a_negative(value):
    logits = jnp.full((2, 5, 5), value)
    negatives = many_draws(logits, logits, exclude_self(2, 5))
    for side in (negatives.image, negatives.text):
        found = shares(side, 5)
        assert not np.any(found[:, range(5), range(5)])
        np.testing.assert_allclose(found.sum(axis=-1), 1)
    assert np.all(negatives.valid)


def test_a_huge_similarity_wins_and_a_huge_own_one_does_not():
    logits = np.zeros((1, 5, 5), np.float32)
    logits[0, 2, 4] = 1e9
    logits[0, 3, 3] = 1e9
    negatives = many_draws(jnp.asarray(logits), jnp.asarray(logits), exclude_self(1, 5))
    assert np.all(np.asarray(negatives.image)[:, 0, 2] == 4)
    assert not np.any(np.asarray(negatives.image)[:, 0, 3] == 3)


def test_a_row_without_any_negative_is_not_valid():
    excluded = np.array(exclude_self(2, 3))
    excluded[1, 2] = excluded[1, :, 2] = True
    logits = jnp.asarray(similarities(0, size=3))
    negatives = draw_negatives(jax.random.key(0), logits, logits, jnp.asarray(excluded))
    assert np.asarray(negatives.valid).tolist() == [[True] * 3, [True, True, False]]
    for side in (negatives.image, negatives.text):
        assert np.all((np.asarray(side) >= 0) & (np.asarray(side) < 3))


def test_a_group_of_one_has_no_negatives():
    logits = jnp.zeros((4, 1, 1))
    negatives = draw_negatives(jax.random.key(0), logits, logits, exclude_self(4, 1))
    assert not np.any(negatives.valid)
    assert not np.any(negatives.image)


def logits(seed, rows=6):
    return np.random.default_rng(seed).standard_normal((rows, 2), np.float32)


def test_matching_loss():
    positive, image, text = (logits(seed) for seed in range(3))
    valid = np.array([1, 1, 0, 1, 0, 1], bool)
    found = itm_loss(*map(jnp.asarray, (positive, image, text, valid)))
    rows = np.concatenate([positive, image[valid], text[valid]]).astype(np.float64)
    labels = np.array([1] * 6 + [0] * 8)
    expected = -np.mean(log_softmax(rows, axis=1)[np.arange(14), labels])
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    assert float(found.accuracy) == pytest.approx(np.mean(rows.argmax(1) == labels))
    assert 0 < float(found.accuracy) < 1


def test_invalid_rows_do_not_count():
    positive, image, text = (jnp.asarray(logits(seed)) for seed in range(3))
    valid = jnp.arange(6) != 2

    def loss(image):
        return itm_loss(positive, image, text, valid).loss

    gradient = np.asarray(jax.grad(loss)(image))
    assert np.flatnonzero(~gradient.any(axis=1)).tolist() == [2]
    assert float(loss(image.at[2].set(100.0))) == float(loss(image))


def test_without_any_negative_the_positives_remain():
    positive = jnp.asarray(logits(0))
    found = itm_loss(positive, positive, positive, jnp.zeros(6, bool))
    expected = -np.mean(log_softmax(logits(0).astype(np.float64), axis=1)[:, 1])
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)


def test_a_perfect_head():
    yes, no = jnp.tile(jnp.array([-9.0, 9.0]), (6, 1)), jnp.tile(jnp.array([9.0, -9.0]), (6, 1))
    found = itm_loss(yes, no, no, jnp.ones(6, bool))
    assert float(found.accuracy) == 1
    assert float(found.loss) < 1e-6
    assert float(itm_loss(no, yes, yes, jnp.ones(6, bool)).accuracy) == 0


def test_huge_equal_similarities_are_drawn_evenly():
    logits = jnp.full((1, 4, 4), 1e9)
    keys = jax.random.split(jax.random.key(0), 200)
    drawn = jax.vmap(lambda key: draw_negatives(key, logits, logits, exclude_self(1, 4)).image)(
        keys
    )
    assert np.bincount(np.asarray(drawn)[:, 0, 0], minlength=4)[1:].min() > 40
