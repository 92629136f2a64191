import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed.mesh import make_mesh, to_devices
from albef_jax.inference import rerank
from albef_jax.inference.gallery import Encoded, Gallery
from albef_jax.inference.rerank import blocks, calls, candidates, itm_scores, schedule
from albef_jax.models import albef
from albef_jax.models.primitives import normalize

N, M = 6, 9


@pytest.mark.parametrize("k", [1, 2, 4])
def test_candidates_of_both_directions(k):
    scores = np.random.default_rng(k).standard_normal((N, M))
    texts, images = np.zeros((N, M), bool), np.zeros((N, M), bool)
    for image in range(N):
        texts[image, np.argsort(-scores[image])[:k]] = True
    for text in range(M):
        images[np.argsort(-scores[:, text])[:k], text] = True
    found = candidates(scores, k)
    np.testing.assert_array_equal(found.texts, texts)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.either, texts | images)


def test_a_direction_alone_would_not_do():
    """Text 1 is nobody's best text, but has a best image."""
    found = candidates(np.array([[9.0, 1.0], [8.0, 2.0]]), 1)
    assert found.texts.tolist() == [[True, False], [True, False]]
    assert found.images.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("k", [9, 10, 100])
def test_more_candidates_than_there_are(k):
    scores = np.random.default_rng(0).standard_normal((N, M))
    found = candidates(scores, k)
    assert found.texts.all()
    assert found.images.all()


def test_ties_still_give_k():
    found = candidates(np.zeros((N, M)), 2)
    assert np.all(found.texts.sum(axis=1) == 2)
    assert np.all(found.images.sum(axis=0) == 2)


@pytest.mark.parametrize("num_images", [1, 2, 4, 16])
def test_blocks_hold_every_image_with_candidates(chosen, num_images):
    found = list(blocks(chosen, num_images))
    assert {len(block) for block in found} == {num_images}
    assert set(np.concatenate(found)) == set(np.flatnonzero(chosen.any(axis=1)))
    assert len(found) == -(-np.count_nonzero(chosen.any(axis=1)) // num_images)


@pytest.mark.parametrize("texts", [1, 2, 4, 16])
def test_calls_hold_the_chosen_pairs(chosen, texts):
    found = np.zeros((N, M), bool)
    for block in blocks(chosen, 2):
        for wanted in calls(chosen, block, texts):
            assert wanted.shape == (2, texts)
            found[block[:, None], wanted] = True
    np.testing.assert_array_equal(found, chosen)


@pytest.mark.parametrize("holder", [[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]], ids=str)
@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_processes_score_what_they_have_in_equally_many_calls(chosen, holder, num_images):
    owner = np.resize(holder, N)
    shares = [np.flatnonzero(owner == number) for number in range(2)]
    plans = schedule(chosen, shares, num_images, 2)
    assert [len(one.calls) for one in plans[0]] == [len(one.calls) for one in plans[1]]
    found = np.zeros((N, M), bool)
    for plan, share in zip(plans, shares, strict=True):
        for block, wanted_texts in plan:
            assert block.shape == (num_images,)
            assert set(block) <= {*share, -1}
            for wanted in wanted_texts:
                assert wanted.shape == (num_images, 2)
                found[block[block >= 0, None], wanted[block >= 0]] = True
    np.testing.assert_array_equal(found, chosen)


@pytest.fixture(scope="module")
def gallery(batch):
    """Captions of different lengths."""
    rows = np.arange(M) % 8
    images, owners = batch.image[:N], np.arange(M) % N
    return Gallery(images, [], batch.text_ids[rows], batch.text_mask[rows], owners)


@pytest.fixture(scope="module")
def encoded():
    text = np.random.default_rng(0).standard_normal((M, 6, 24), np.float32)
    return Encoded(np.empty(0), text, np.empty(0))


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
        image_embeds = albef.encode_image(config, params, normalize(image[None]))
        fused = albef.fuse(config, params, text[None, None], mask[None, None], image_embeds)
        return albef.itm_logits(params, fused[0, 0, 0])[1]

    arrays = jnp.asarray(encoded.text_embeds), jnp.asarray(gallery.text_mask)
    images = jnp.asarray(gallery.images)
    return np.array(
        [
            [one(arrays[0][text], arrays[1][text], images[image]) for text in range(M)]
            for image in range(N)
        ]
    )


@pytest.mark.parametrize(
    "devices, num_images, texts", [(1, 1, 1), (1, 4, 2), (1, 64, 16), (8, 8, 4)]
)
def test_scores_are_those_of_the_pairs(
    tiny, gallery, encoded, chosen, naive, devices, num_images, texts
):
    mesh = make_mesh(1, devices=jax.devices()[:devices])
    found = itm_scores(*tiny, gallery, encoded, chosen, mesh, num_images, texts)
    assert found.shape == (N, M)
    assert np.all(found[~chosen] == -np.inf)
    np.testing.assert_allclose(found[chosen], naive[chosen], rtol=1e-4, atol=1e-5)
    assert np.std(naive[chosen]) > 0.01


def test_devices_hold_a_block_of_images_and_the_texts_of_a_call(
    tiny, gallery, encoded, chosen, monkeypatch
):
    """Never all tokens of the gallery, whatever its size."""
    given = []

    def noted(mesh, batch):
        given.append({name: rows.shape for name, rows in batch.items()})
        return to_devices(mesh, batch)

    monkeypatch.setattr(rerank, "to_devices", noted)
    mesh = make_mesh(1, devices=jax.devices()[:1])
    itm_scores(*tiny, gallery, encoded, chosen, mesh, 2, 4)
    images = {"image": (2, 16, 16, 3)}
    texts = {"text_embeds": (2, 4, 6, 24), "text_mask": (2, 4, 6)}
    assert {tuple(one) for one in given} == {tuple(images), tuple(texts)}
    assert all(one in (images, texts) for one in given)
