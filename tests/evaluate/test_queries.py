"""Rows of queries: written, read, the worst, and what changed."""

import numpy as np
import pytest

from albef_jax.evaluate.queries import changed, read, right, worst, write
from albef_jax.evaluate.recall import recall
from albef_jax.evaluate.retrieval import query_rows
from albef_jax.inference.gallery import Gallery
from albef_jax.inference.rerank import Candidates


def row(query, text="", right=1, doubt=0.0, **more):
    return {"query": query, "text": text, "right": right, "doubt": doubt, **more}


def test_what_is_written_is_read(tmp_path):
    assert read(tmp_path) == []
    write(tmp_path, [])
    assert not list(tmp_path.iterdir())
    rows = [row(7, 'a "quoted" text,\nof two lines – ä', 0, 1 / 3, rank=2), row("b", rank="")]
    write(tmp_path, rows)
    found = read(tmp_path)
    assert [one["query"] for one in found] == ["7", "b"]
    assert found[0]["text"] == rows[0]["text"]
    assert (found[0]["doubt"], found[0]["rank"], found[1]["rank"]) == ("0.333333", "2", "")


def test_right_is_a_number_or_unknown():
    assert [right(value) for value in (True, False, None)] == [1, 0, ""]


def test_the_worst_are_wrong_and_sure():
    rows = [row("a", right=0, doubt=0.2), row("b", doubt=0.9), row("c", right=0, doubt=0.8)]
    rows.append(row("unknown", right="", doubt=1.0))
    assert [one["query"] for one in worst(rows, 5)] == ["c", "a"]
    assert [one["query"] for one in worst(rows, 1)] == ["c"]


def test_queries_are_compared_by_name_and_text():
    first = [row("a", "x", "1"), row("a", "y", "0"), row("b", "x", "1"), row("c", "x", "")]
    second = [row("a", "x", "0"), row("a", "y", "1"), row("b", "x", "1"), row("d", "x", "1")]
    found = changed(first, second)
    assert (found.gained, found.lost, found.same) == ([("a", "y")], [("a", "x")], 1)
    assert changed(first, [row("d", "x", "1")]) is None
    assert changed([], []) is None


@pytest.fixture
def gallery():
    """Three images; the captions of the last two are the same."""
    ids = np.array([[1, 2], [1, 3], [1, 4], [1, 4]], np.int32)
    images, captions = np.zeros((3, 4, 4, 3), np.uint8), ["one", "uno", "two", "two"]
    owners = np.array([0, 0, 1, 2])
    return Gallery(images, captions, ids, np.ones_like(ids), owners, 0, ("p", "q", "r"))


def test_ranks_of_retrieval_are_those_of_the_recall(gallery):
    rng = np.random.default_rng(0)
    itc = rng.standard_normal((3, 4))
    itm = np.where(rng.random((3, 4)) < 0.7, rng.standard_normal((3, 4)), -np.inf)
    rows = list(query_rows(Candidates(itc, itc), Candidates(itm, itm), gallery))
    images, texts = rows[:3], rows[3:]
    assert [one["query"] for one in images] == [f"captions for {name}" for name in "pqr"]
    assert [(one["text"], one["image"]) for one in texts] == [
        ("one", "p"), ("uno", "p"), ("two", "q"), ("two", "r"),
    ]  # fmt: skip
    owner = gallery.image_of_text
    for k, name in ((1, "r1"), (5, "r5")):
        for scores, rank in ((itc, "itc_rank"), (itm, "itm_rank")):
            share = 100 * np.mean([one[rank] <= k for one in texts])
            assert share == pytest.approx(recall(scores.T, owner, np.arange(3))[name])
    assert [one["right"] for one in texts] == [int(one["itm_rank"] == 1) for one in texts]


def test_the_best_candidate_is_told(gallery):
    itc = np.array([[9.0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 0, 9]])
    itm = np.array([[0.0, 9, 0, 0], [-np.inf] * 4, [0, 0, 9, 0]])
    rows = list(query_rows(Candidates(itc, itc), Candidates(itm, itm), gallery))
    assert [one["best_by_itm"] for one in rows[:3]] == ["uno", "uno", "two"]
    assert [one["best_by_itm"] for one in rows[3:]] == ["p", "p", "r", "p"]
