"""Figures of items that show what training never shows, from hand-made outcomes of each task."""

from types import SimpleNamespace

import numpy as np
import pytest

from albef_jax.config.tasks import task_spec
from albef_jax.data.records import Question
from albef_jax.data.scenes.task_sources import ScenesQuestions, ScenesReferring, ScenesSentences
from albef_jax.tasks.grounding import Heat, Placed
from albef_jax.tasks.vqa import NO_IMAGE, Answered
from tests.helpers.tiny_run import task_config

STATE = SimpleNamespace(params=None, step=7)
PLACES = (7, 1, 4, 2, 0)  # of the judged records; of these 7, 4 and 0 are unseen, as is 5
UNSEEN = (0, 4, 5, 7)


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """The evaluation of a task whose model found what is given."""

    def run(task, source, method, found):
        program = task_spec(task).run(task_config(task), tmp_path, eval_only=True)
        monkeypatch.setattr(source, "unseen", lambda self, index: index in UNSEEN)
        monkeypatch.setattr(program, method, lambda params, mesh: found)
        return program.evaluate(STATE, None)

    return run


def approximately(**figures):
    return pytest.approx(figures, rel=1e-6)


def test_judgements(evaluate):
    labels, predicted = np.array([0, 1, 0, 2, 1]), [0, 1, 1, 2, 0]
    found = {"logits": np.eye(3)[predicted], "label": labels, "index": np.array(PLACES)}
    found["asked"] = [(f"image {place}", "a sentence") for place in PLACES]
    evaluation = evaluate("entailment", ScenesSentences, "_judge_all", found)
    figures = evaluation.results["judgement"]
    assert (figures["accuracy"], figures["majority"], figures["count"]) == (60, 40, 5)
    assert figures["unseen"] == approximately(
        accuracy=100 / 3, majority=200 / 3, chance=100 / 3, count=3
    )
    assert "3 show a combination" in evaluation.lines[-1]
    assert [row["right"] for row in evaluation.queries] == [1, 1, 0, 1, 0]
    assert evaluation.queries[0]["query"] == "image 7"


def test_answers(evaluate):
    """The question about an image that cannot be read is not among them."""
    truths, given = ("red", "blue", "red", "red", "two"), ("red", "blue", "blue", "red", "two")
    found = [
        Answered(
            place,
            Question("", NO_IMAGE, "what", (truth,), "vqa", place, "colour"),
            [(answer, 1.0)],
            readable=place != 4,
        )
        for place, truth, answer in zip(PLACES, truths, given, strict=True)
    ]
    evaluation = evaluate("vqa", ScenesQuestions, "_answer_all", found)
    figures = evaluation.results["answers"]
    assert (figures["overall"], figures["majority"], figures["count"]) == (80, 60, 5)
    assert figures["unseen"] == approximately(accuracy=100, majority=50, count=2)
    assert any("2 show a combination" in line for line in evaluation.lines)
    # Of an image that could not be read, nothing is known.
    assert [row["right"] for row in evaluation.queries] == [1, 1, "", 1, 1]


def test_grounding(evaluate):
    boxes = np.array([[0, 0, 9, 9], [20, 20, 9, 9]], np.float32)
    chosen = {7: (0, 1), 1: (1, 1), 4: (1, 1), 2: (1, 1), 0: (0, 0)}
    found = [
        Placed(
            place,
            "image",
            "a phrase",
            (0.0, 0.0, 9.0, 9.0),
            "val",
            boxes,
            {"itm": chosen[place][0], "itc": chosen[place][1]},
            {"itm": True, "itc": False},
            0.5 if place in UNSEEN else 0.25,
        )
        for place in PLACES
    ]
    heat = {place: Heat(np.ones((4, 4)), []) for place in PLACES}
    evaluation = evaluate("grounding", ScenesReferring, "_place_all", (found, heat))
    figures = evaluation.results["grounding"]
    assert (figures["itm"]["accuracy"], figures["chance"]) == ({"val": 40}, 40)
    assert figures["unseen"] == approximately(itm=200 / 3, itc=100 / 3, chance=50, count=3)
    assert "ITM 66.67 %, ITC 33.33 %" in evaluation.lines[-1]
    rows = evaluation.queries
    assert [row["right"] for row in rows] == [1, 0, 0, 0, 1]
    assert (rows[0]["itm_box"], rows[0]["itc_box"]) == ("0 0 9 9", "20 20 9 9")
