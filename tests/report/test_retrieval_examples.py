import numpy as np
import pytest

from albef_jax.distributed.mesh import make_mesh
from albef_jax.evaluate.retrieval import Retrieval, both_ways, evaluate
from albef_jax.inference.gallery import Gallery
from albef_jax.inference.rerank import Candidates, candidates
from albef_jax.report.retrieval_examples import SHOWN, collect, evenly_spaced

CAPTIONS = ["red circle", "a square", "blue", "left of a circle", "green triangle", "right"]
OWNER = np.array([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    "size, count, places",
    [(10, 3, [0, 4, 9]), (5, 5, [0, 1, 2, 3, 4]), (3, 8, [0, 1, 2]), (1, 4, [0]), (7, 1, [0])],
)
def test_examples_are_spread_evenly(size, count, places):
    assert evenly_spaced(size, count).tolist() == places


@pytest.fixture(scope="module")
def gallery(tokenizer):
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    return Gallery(images, CAPTIONS, *tokenizer.encode(CAPTIONS), OWNER)


@pytest.fixture(scope="module")
def scores():
    scores = np.random.default_rng(1).permutation(np.arange(18.0)).reshape(3, 6)
    scores[1] = [-np.inf, 4.0, -np.inf, -np.inf, 9.0, -np.inf]
    return scores


@pytest.fixture(scope="module")
def examples(tiny, tokenizer, gallery, scores):
    found = Retrieval(np.zeros((3, 6)), scores, both_equal(0))
    return collect(*tiny, tiny.params, tokenizer, gallery, found, 3)


def test_captions_of_images(examples, gallery, scores):
    assert len(examples.texts_of_images) == 3
    for image, example in enumerate(examples.texts_of_images):
        np.testing.assert_array_equal(example.image, gallery.images[image])
        assert example.own == CAPTIONS[2 * image]
        order = [text for text in np.argsort(-scores[image]) if scores[image, text] > -np.inf]
        ranked = [(CAPTIONS[text], scores[image, text], OWNER[text] == image) for text in order]
        found = [(text.caption, text.score, text.right) for text in example.ranked]
        assert found == ranked[:SHOWN]


def test_what_matching_did_not_score_is_not_shown(examples):
    assert [text.caption for text in examples.texts_of_images[1].ranked] == [
        "green triangle",
        "a square",
    ]


def test_images_of_captions(examples, gallery, scores):
    for text, example in zip(evenly_spaced(6, 3), examples.images_of_texts, strict=True):
        assert example.caption == CAPTIONS[text]
        order = [image for image in np.argsort(-scores[:, text]) if scores[image, text] > -np.inf]
        assert [shown.score for shown in example.ranked] == scores[order, text].tolist()
        assert [shown.right for shown in example.ranked] == (OWNER[text] == order).tolist()
        for shown, image in zip(example.ranked, order, strict=True):
            np.testing.assert_array_equal(shown.image, gallery.images[image])


def test_masked_captions_go_with_their_own_image(examples, gallery):
    for text, example in zip(evenly_spaced(6, 3), examples.masked_captions, strict=True):
        assert example.caption == CAPTIONS[text]
        np.testing.assert_array_equal(example.image, gallery.images[OWNER[text]])
        assert {word.word for word in example.words} <= set(CAPTIONS[text].split())
        assert example.words


def test_retrieval_binds_contrast_and_matching(tiny, gallery):
    found = evaluate(*tiny, gallery, make_mesh(), rows=8, k=1)
    assert found.itc_scores.shape == found.itm_scores.shape == (3, 6)
    assert np.abs(found.itc_scores).max() <= 1 + 1e-5
    chosen = np.isfinite(found.itm_scores)
    best_text, best_image = found.itc_scores.argmax(axis=1), found.itc_scores.argmax(axis=0)
    assert np.all(chosen[range(3), best_text])
    assert np.all(chosen[best_image, range(6)])
    assert chosen.sum() <= 9
    figures = found.figures
    assert (figures["images"], figures["captions"], figures["rerank"]) == (3, 6, 1)
    assert figures["chance_r1"] == pytest.approx(100 / 3)
    itc, itm = found.itc_scores, found.itm_scores
    # A query is answered from its own candidates alone.
    reranked = Candidates(*(np.where(way, itm, -np.inf) for way in candidates(itc, 1)))
    for stage, scores in (("itc", Candidates(itc, itc)), ("itm", reranked)):
        assert figures[stage] == both_ways(scores, gallery.image_of_text)


def both_equal(itc_r1):
    ways = ("text_retrieval", "image_retrieval")
    r1 = {"itc": itc_r1, "itm": 0}
    return {name: {way: {"r1": value} for way in ways} for name, value in r1.items()}


@pytest.mark.parametrize(("itc_r1", "name"), [(0, "ITM"), (5, "ITC")])
def test_examples_are_ranked_by_the_better_scores(itc_r1, name):
    itc, itm = np.zeros((3, 6)), np.ones((3, 6))
    found, scores = Retrieval(itc, itm, both_equal(itc_r1)).better()
    assert found == name
    assert scores is {"ITC": itc, "ITM": itm}[name]
