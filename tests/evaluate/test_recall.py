import numpy as np
import pytest

from albef_jax.evaluate.recall import Rank, ranks, recall
from albef_jax.evaluate.retrieval import both_ways
from albef_jax.inference.rerank import Candidates


def is_found(score, right, k):
    """Sort by score, wrong ones before right ones of equal score; is a right one in the first k?"""
    order = sorted(range(len(score)), key=lambda place: (-score[place], right[place]))
    return any(right[place] for place in order[:k])


def case(seed, queries=40, candidates=60, num_images=25):
    """Coarse scores, so that there are many ties, a third of them not considered."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 30, (queries, candidates)).astype(float)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    scores[3] = -np.inf  # nothing considered at all
    query_ids, candidate_ids = (rng.integers(0, num_images, n) for n in (queries, candidates))
    query_ids[5] = 99  # nothing right
    return scores, query_ids, candidate_ids


@pytest.mark.parametrize("seed", range(5))
def test_against_sorting(seed):
    scores, query_ids, candidate_ids = case(seed)
    found = recall(scores, query_ids, candidate_ids)
    for k in (1, 5, 10):
        hits = [
            is_found(score, candidate_ids == query, k)
            for score, query in zip(scores, query_ids, strict=True)
        ]
        assert found[f"r{k}"] == pytest.approx(100 * np.mean(hits))
    assert 0 < found["r1"] < found["r5"] < found["r10"] < 100


def test_ties_are_lost():
    scores = np.zeros((1, 20))
    assert ranks(scores, np.array([7]), np.arange(20)) == [Rank(19)]
    scores[0, 7] = 1e-9
    assert ranks(scores, np.array([7]), np.arange(20)) == [Rank(0)]


def test_right_candidates_do_not_stand_in_each_others_way():
    """An image with three captions, in places 0, 2 and 3 by score."""
    scores = np.array([[9.0, 8.0, 7.0, 6.0]])
    assert ranks(scores, np.array([1]), np.array([1, 0, 1, 1])) == [Rank(0)]
    assert ranks(scores, np.array([1]), np.array([0, 0, 1, 1])) == [Rank(2)]


def test_a_right_candidate_that_was_not_considered_ranks_last():
    scores = np.array([[-np.inf, 1.0, -np.inf]])
    assert ranks(scores, np.array([0]), np.arange(3)) == [Rank(2)]
    assert ranks(scores, np.array([7]), np.arange(3)) == [Rank(None)]


def test_in_a_small_gallery_the_last_place_is_among_the_first():
    """As in the official score matrix, where what was not considered has a score of -100."""
    scores = np.array([[-np.inf, 1.0, 0.5]])
    assert recall(scores, np.array([0]), np.arange(3)) == {"r1": 0, "r5": 100, "r10": 100}


def test_perfect_and_reversed_scores():
    eye = np.eye(30)
    assert recall(eye, np.arange(30), np.arange(30)) == {"r1": 100, "r5": 100, "r10": 100}
    assert recall(-eye, np.arange(30), np.arange(30)) == {"r1": 0, "r5": 0, "r10": 0}


def test_both_ways():
    """Two images, the first with three captions; image 1 is confused with image 0."""
    scores = np.array([[5.0, 1.0, 4.0, 3.0], [0.0, 2.0, 0.0, 2.5]])
    found = both_ways(Candidates(scores, scores), np.array([0, 0, 0, 1]))
    assert found["text_retrieval"]["r1"] == 100
    assert found["image_retrieval"]["r1"] == 50  # captions 1 and 3 go to the wrong image


def test_nan_has_no_rank():
    scores = np.eye(3)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        recall(scores, np.arange(3), np.arange(3))


def expected_by_drawing(scores, query_ids, candidate_ids, alike, k, draws=4000):
    """Recall over random orders of candidates that are alike; other ties are lost."""
    rng = np.random.default_rng(0)
    found = []
    for score, query in zip(scores, query_ids, strict=True):
        right = candidate_ids == query
        score = np.array([score[alike == label].max() for label in alike])
        best = score[right].max(initial=-np.inf)
        first = right & (score == best)
        equal = np.isin(alike, alike[first])
        hits = 0
        for _ in range(draws):
            luck = rng.random(len(score))
            ahead = [
                place
                for place in np.flatnonzero(~right)
                if score[place] > best
                or (score[place] == best and (not equal[place] or luck[place] > luck[first].max()))
            ]
            hits += right.any() and len(ahead) < k
        found.append(hits / draws)
    return 100 * np.mean(found)


def test_texts_that_are_the_same_rank_in_random_order():
    """Caption 2 of image 1 is that of image 0, too; captions 3 and 4 of image 2 are the same."""
    alike = np.array([0, 1, 0, 2, 2, 0])
    image_of_text = np.array([0, 0, 1, 2, 2, 3])
    scores = np.array(
        [[9.0, 4, 9, 1, 1, 9], [5, 6, 5, 1, 1, 5], [1, 1, 1, 7, 7, 1], [3, 9, 3, 4, 4, 3]]
    )
    found = ranks(scores, np.arange(4), image_of_text, alike)
    # Image 0's own is one of three; image 1's too, behind another; image 2's twins are both right.
    assert found == [Rank(0, 1, 2), Rank(1, 1, 2), Rank(0, 2, 0), Rank(3, 1, 2)]
    assert found[0].chance_within(1) == pytest.approx(1 / 3)
    assert [found[1].chance_within(k) for k in (1, 2, 3, 5)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    figures = recall(scores, np.arange(4), image_of_text, alike)
    for k in (1, 5):
        drawn = expected_by_drawing(scores, np.arange(4), image_of_text, alike, k)
        assert figures[f"r{k}"] == pytest.approx(drawn, abs=1.5)


def test_one_text_under_all_images_scores_chance():
    images = 40
    scores = np.repeat(np.random.default_rng(0).random((images, 1)), images, axis=1)
    ids = np.arange(images)
    found = both_ways(Candidates(scores, scores), ids, np.zeros(images, int))
    assert found["text_retrieval"]["r1"] == pytest.approx(100 / images)
    assert found["text_retrieval"]["r10"] == pytest.approx(1000 / images)
    assert found["image_retrieval"]["r1"] == pytest.approx(100 / images)


def test_same_texts_are_one_although_reranking_considered_one_alone():
    scores = np.array([[-np.inf, 3.0, 1.0]])
    alike = np.array([0, 0, 1])
    assert ranks(scores, np.array([5]), np.array([5, 6, 7]), alike) == [Rank(0, 1, 1)]
