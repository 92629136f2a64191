"""Ranked and generated answers against search by hand over every possible answer."""

from dataclasses import replace
from functools import partial
from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from albef_jax.inference import answer_decoding
from albef_jax.inference.answer_decoding import Answerer, Generated, Ranked, generate, rank
from albef_jax.models.decoder import decode, init_decoder
from albef_jax.models.primitives import normalize
from tests.helpers.tiny_model import drawn_like

VOCAB, START, END, LENGTH = 7, 5, 6, 4
EVERY = VOCAB ** (LENGTH - 1)
B = 6
STATES = np.random.default_rng(0).standard_normal((B, 6, 24), np.float32)
QUESTION_MASK = (np.arange(6) < 2 + np.arange(B)[:, None] % 5).astype(np.int32)
# Different first tokens, equal ones, and one answer that is the beginning of another.
ANSWERS = [(1,), (2, 3), (2, 4), (2,), (0, 0), (3, 1), (4,), (1, 2), (3,)]


@pytest.fixture(scope="module")
def config(tiny):
    return replace(tiny.config, vocab_size=VOCAB)


@pytest.fixture(scope="module")
def params(config):
    """A decoder with opinions: answers of different lengths, and a greedy choice may be wrong."""
    tree = drawn_like(partial(init_decoder, config), 0)
    rng = np.random.default_rng(1)

    def blur(leaf):
        return jnp.asarray(leaf + 0.3 * rng.standard_normal(leaf.shape, np.float32))

    return {"answer_decoder": jax.tree.map(blur, jax.device_get(tree))}


@pytest.fixture(scope="module")
def steps(config, params):
    """`(question, tokens so far) -> log-probabilities of the next token`, for all answers."""
    rows = [(START, *rest) for rest in product(range(VOCAB), repeat=LENGTH - 1)]
    ids = np.broadcast_to(np.array(rows, np.int32), (B, EVERY, LENGTH))
    logits = jax.jit(partial(decode, config))(params, ids, np.ones_like(ids), STATES, QUESTION_MASK)
    table = log_softmax(np.asarray(logits, np.float64), axis=-1)
    return {
        (question, row[: position + 1]): table[question, number, position]
        for question in range(B)
        for number, row in enumerate(rows)
        for position in range(LENGTH)
    }


def likelihood(steps, question, answer):
    """Of an answer's tokens after the first."""
    return sum(steps[question, answer[:place]][answer[place]] for place in range(1, len(answer)))


def padded(answer):
    return (*answer, *(END,) * (LENGTH - len(answer)))


@pytest.fixture(scope="module")
def answers():
    """Ids and mask of the list, `[CLS] answer [SEP]` each."""
    rows = [(START, *answer, END) for answer in ANSWERS]
    lengths = np.array([[len(row)] for row in rows])
    ids = np.array([row + (0,) * (LENGTH - len(row)) for row in rows], np.int32)
    return ids, (np.arange(LENGTH) < lengths).astype(np.int32)


@pytest.fixture(scope="module")
def ranking(config, params, answers):
    ids, mask = answers
    compiled = jax.jit(partial(rank, config), static_argnames="k")

    def ranking(k, filler=0):
        filled = np.where(mask == 1, ids, filler).astype(np.int32)
        inputs = map(jnp.asarray, (STATES, QUESTION_MASK, filled, mask))
        return jax.device_get(compiled(params, *inputs, k=k))

    return ranking


def ranked_by_hand(steps, question, k):
    """Places of the k candidates and their scores, best first."""
    first = np.array([steps[question, (START,)][answer[0]] for answer in ANSWERS])
    candidates = np.argsort(-first, kind="stable")[:k]
    scores = {
        place: first[place] + likelihood(steps, question, (START, *ANSWERS[place], END))
        for place in candidates
    }
    places = sorted(scores, key=lambda place: -scores[place])
    return places, [scores[place] for place in places]


@pytest.mark.parametrize("k", [4, len(ANSWERS)])
def test_ranking(steps, ranking, k):
    found = ranking(k)
    for question in range(B):
        places, scores = ranked_by_hand(steps, question, k)
        assert found.places[question].tolist() == places
        np.testing.assert_allclose(found.scores[question], scores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.probabilities[question], softmax(scores), rtol=1e-3)


@pytest.mark.parametrize("chunk", [2, 4])
def test_ranking_in_chunks_changes_nothing(chunk, config, params, answers, ranking, monkeypatch):
    """Whole chunks, and a last one that is filled up."""
    monkeypatch.setattr(answer_decoding, "CHUNK", chunk)
    ids, mask = map(jnp.asarray, answers)
    found = jax.jit(partial(rank, config, k=5))(params, STATES, QUESTION_MASK, ids, mask)
    expected = ranking(5)
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)


def test_the_first_token_decides_who_is_ranked_at_all(ranking):
    """Of the best four over the whole list, some are no candidates: a faithful shortcoming."""
    some, everyone = ranking(4).places, ranking(len(ANSWERS)).places
    assert any(set(one) != set(other[:4]) for one, other in zip(some, everyone, strict=True))
    assert len({tuple(row) for row in everyone}) > 1


def test_padding_of_the_list_does_not_count(ranking):
    found, expected = ranking(len(ANSWERS), filler=3), ranking(len(ANSWERS))
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def generated(config, params):
    """Answers and scores, by number of beams."""
    run = partial(generate, config, start=START, end=END, length=LENGTH)

    def by_beams(beams):
        compiled = jax.jit(partial(run, beams=beams))
        return jax.tree.map(np.asarray, compiled(params, STATES, QUESTION_MASK))

    return {beams: by_beams(beams) for beams in (1, 2, EVERY)}


def search_by_hand(steps, question, beams):
    """Beam search with lists: unfinished answers branch, finished ones stay."""
    kept = [((START,), 0.0)]
    for _ in range(LENGTH - 1):
        longer = []
        for answer, score in kept:
            if answer[-1] == END:
                longer.append((answer, score))
                continue
            ahead = steps[question, answer]
            longer += [((*answer, token), score + ahead[token]) for token in range(VOCAB)]
        kept = sorted(longer, key=lambda one: -one[1])[:beams]
    return kept[0]


@pytest.mark.parametrize("beams", [1, 2])
def test_beam_search(steps, generated, beams):
    for question in range(B):
        answer, score = search_by_hand(steps, question, beams)
        assert generated[beams].answer_ids[question].tolist() == list(padded(answer))
        assert generated[beams].score[question] == pytest.approx(score, abs=1e-4)


def test_one_beam_takes_the_likeliest_token_each_time(steps, generated):
    for question in range(B):
        answer = (START,)
        while len(answer) < LENGTH and answer[-1] != END:
            answer = (*answer, int(np.argmax(steps[question, answer])))
        assert tuple(generated[1].answer_ids[question]) == padded(answer)


def test_enough_beams_find_the_likeliest_answer_of_all(steps, generated):
    answers = {
        row[: row.index(END) + 1] if END in row else row
        for row in ((START, *rest) for rest in product(range(VOCAB), repeat=LENGTH - 1))
    }
    for question in range(B):
        best = max(answers, key=lambda answer: likelihood(steps, question, answer))
        assert tuple(generated[EVERY].answer_ids[question]) == padded(best)
        score = likelihood(steps, question, best)
        assert generated[EVERY].score[question] == pytest.approx(score, abs=1e-4)


def test_more_beams_are_not_worse_here(generated):
    scores = [generated[beams].score for beams in (1, 2, EVERY)]
    for fewer, more in pairwise(scores):
        assert np.all(more >= fewer - 1e-5)
    assert np.any(scores[1] > scores[0] + 1e-3)  # or this would show nothing


def test_answers_end_and_are_filled_up_with_the_end(generated):
    lengths = set()
    for found in generated.values():
        assert np.all(found.answer_ids[:, 0] == START)
        for row in found.answer_ids.tolist():
            end = row.index(END) if END in row else LENGTH
            assert set(row[end:]) <= {END}
            lengths.add(end)
    assert len(lengths) > 1


def test_a_place_that_held_a_finished_answer_may_hold_an_unfinished_one(config, monkeypatch):
    """The short answer is second at first; then two longer ones push it out of two beams."""
    start, end = 3, 4
    chances = {
        start: [0.7, 0.02, 0.02, 0.01, 0.25],
        0: [0.04, 0.46, 0.44, 0.02, 0.04],
        1: [0.5, 0.3, 0.1, 0.05, 0.05],
        2: [0.2, 0.2, 0.2, 0.2, 0.2],
        end: [0.2, 0.2, 0.2, 0.2, 0.2],
    }
    table = jnp.log(jnp.array([chances[token] for token in range(5)]))
    monkeypatch.setattr(answer_decoding, "question_keys_values", lambda *_: None)
    monkeypatch.setattr(
        answer_decoding, "decode_next", lambda c, p, token, at, past, *_: (table[token], past)
    )
    run = partial(generate, config, start=start, end=end, length=4, beams=2)
    found = jax.jit(run)({}, jnp.zeros((1, 2, 24)), jnp.ones((1, 2), jnp.int32))
    assert found.answer_ids.tolist() == [[start, 0, 1, 0]]
    assert float(found.score[0]) == pytest.approx(np.log(0.7 * 0.46 * 0.5), rel=1e-5)


@pytest.fixture
def answer(config, params, batch, monkeypatch):
    """An answerer on a batch; its questions have `STATES`, if it normalises their images."""
    image = batch.image[:B]
    given = {"image": image, "text_ids": batch.text_ids[:B], "text_mask": QUESTION_MASK}

    def states(config, params, image, text_ids, text_mask):
        right = jnp.max(jnp.abs(image - normalize(jnp.asarray(given["image"])))) < 1e-5
        return jnp.where(right, STATES, 0)

    monkeypatch.setattr(answer_decoding, "fuse_pairs", states)

    def answer(answers, k=128, beams=2):
        answerer = Answerer(config, answers, k, beams, LENGTH, (START, END))
        return answerer.compile()(params, jax.tree.map(jnp.asarray, given))

    return answer


def test_the_answerer_ranks_at_most_the_whole_list(answer, answers, ranking):
    found, expected = answer(answers), ranking(len(ANSWERS))
    assert isinstance(found, Ranked)
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(answer(answers, k=4).places, ranking(4).places)


def test_the_answerer_generates_without_a_list(answer, generated):
    found, expected = answer(None), generated[2]
    assert isinstance(found, Generated)
    np.testing.assert_array_equal(found.answer_ids, expected.answer_ids)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-5, atol=1e-5)
