import json
from pathlib import Path

import numpy as np
import pytest

from albef_jax.data.records import Question, weighted_answers

RECORDED = json.loads(
    (Path(__file__).parents[1] / "golden/text/vqa_answers.json").read_text("utf-8")
)["training_weights"]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["answers"]))
def test_weights_are_the_recorded_ones_to_the_last_bit(case):
    given = case["answers_in"]
    answers = (given,) if isinstance(given, str) else tuple(given)
    question = Question("", np.zeros((1, 1, 3), np.uint8), "", answers, case["dataset"], 0)
    told, weights = weighted_answers(question)
    assert [answer + "[SEP]" for answer in told] == case["answers"]
    assert list(weights) == case["weights"]


def test_a_test_question_has_nothing_to_weigh():
    question = Question("", np.zeros((1, 1, 3), np.uint8), "", (), "vqa", 0)
    assert weighted_answers(question) == ((), ())
