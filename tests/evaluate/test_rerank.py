import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.evaluate.gallery import Encoded, Gallery
from albef_jax.evaluate.rerank import candidates, image_major, itm_scores
from albef_jax.models import albef
from albef_jax.train.mesh import make_mesh

N, M = 6, 9


@pytest.mark.parametrize("k", [1, 2, 4])
def test_candidates_of_both_directions(k):
    scores = np.random.default_rng(k).standard_normal((N, M))
    expected = np.zeros((N, M), bool)
    for image in range(N):
        expected[image, np.argsort(-scores[image])[:k]] = True
    for text in range(M):
        expected[np.argsort(-scores[:, text])[:k], text] = True
    np.testing.assert_array_equal(candidates(scores, k), expected)


def test_a_direction_alone_would_not_do():
    """Text 1 is nobody's best text, but has a best picture."""
    scores = np.array([[9.0, 1.0], [8.0, 2.0]])
    assert candidates(scores, 1).tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("k", [6, 7, 100])
def test_more_candidates_than_there_are(k):
    scores = np.random.default_rng(0).standard_normal((N, M))
    chosen = candidates(scores, k)
    assert np.all(chosen.sum(axis=0) == N)
    assert np.all(candidates(scores, 100))


def test_ties_still_give_k():
    chosen = candidates(np.zeros((N, M)), 2)
    assert np.all(chosen.sum(axis=1) >= 2)
    assert np.all(chosen.sum(axis=0) >= 2)


@pytest.mark.parametrize("rows", [1, 2, 4, 16])
def test_chunks_hold_the_chosen_pairs(rows):
    chosen = np.random.default_rng(0).random((N, M)) < 0.5
    chosen[2] = False
    plan = image_major(chosen, rows)
    assert plan.texts.shape == (len(plan.image), rows)
    found = np.zeros((N, M), bool)
    found[plan.image[:, None], plan.texts] = True
    np.testing.assert_array_equal(found, chosen)
    needed = sum(-(-count // rows) for count in chosen.sum(axis=1))
    assert len(plan.image) == needed


@pytest.fixture(scope="module")
def gallery(batch):
    """Captions of different lengths; ITM needs no pictures, only their encodings."""
    rows = np.arange(M) % 8
    return Gallery(np.empty(0), [], batch.text_ids[rows], batch.text_mask[rows], np.arange(M) % N)


@pytest.fixture(scope="module")
def encoded():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((N, 5, 32), np.float32)
    text = rng.standard_normal((M, 6, 24), np.float32)
    return Encoded(image, np.empty(0), text, np.empty(0))


@pytest.fixture(scope="module")
def chosen():
    chosen = np.random.default_rng(1).random((N, M)) < 0.6
    chosen[3] = False
    return chosen


@pytest.fixture(scope="module")
def naive(tiny, gallery, encoded):
    """Every pair by itself."""
    config, params = tiny

    @jax.jit
    def one(text, mask, image):
        fused = albef.fuse(config, params, text[None, None], mask[None, None], image[None])
        return albef.itm_logits(params, fused[0, 0, 0])[1]

    arrays = jnp.asarray(encoded.text_embeds), jnp.asarray(gallery.text_mask)
    return np.array(
        [
            [
                one(arrays[0][text], arrays[1][text], encoded.image_embeds[image])
                for text in range(M)
            ]
            for image in range(N)
        ]
    )


@pytest.mark.parametrize(
    "devices, chunks, rows",
    [
        (1, 1, 1),  # more than one block of 16 calls
        (1, 4, 2),
        (1, 64, 16),  # one padded call
        (8, 8, 4),
    ],
)
def test_scores_are_those_of_the_pairs(
    tiny, gallery, encoded, chosen, naive, devices, chunks, rows
):
    mesh = make_mesh(1, devices=jax.devices()[:devices])
    found = itm_scores(*tiny, gallery, encoded, chosen, mesh, chunks, rows)
    assert found.shape == (N, M)
    assert np.all(found[~chosen] == -np.inf)
    np.testing.assert_allclose(found[chosen], naive[chosen], rtol=1e-4, atol=1e-5)
    assert np.std(naive[chosen]) > 0.01
