import json
from pathlib import Path

import pytest

from albef_jax.evaluate.vqa_accuracy import (
    CONTRACTIONS,
    EQUALITY,
    OFFICIAL,
    SHARE,
    majority,
    normalize,
    plain_words,
    score,
    soft_accuracy,
    without_marks,
)

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "text" / "vqa_answers.json").read_text("utf-8")
)
QUESTIONS = GOLDEN["soft_accuracy"]["questions"]


@pytest.mark.parametrize("case", GOLDEN["normalisation"], ids=lambda case: repr(case["in"]))
def test_each_step_equals_the_official_one(case):
    assert without_marks(case["in"]) == case["punctuation"]
    assert plain_words(case["in"]) == case["digit_article"]
    assert plain_words(without_marks(case["in"])) == case["both"]


@pytest.mark.parametrize("case", GOLDEN["normalisation"], ids=lambda case: repr(case["in"]))
def test_normalizing_is_both_steps(case):
    assert normalize(case["in"]) == case["both"]


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: case["prediction"])
def test_soft_accuracy_equals_the_official_one(case):
    found = 100 * soft_accuracy(case["prediction"], case["ground_truth"])
    assert round(found, 2) == case["accuracy_percent"]


@pytest.mark.parametrize(
    ("kind", "summary"), [("question_type", "perQuestionType"), ("answer_type", "perAnswerType")]
)
def test_the_summary_equals_the_official_one(kind, summary):
    columns = [[case[name] for case in QUESTIONS] for name in ("prediction", "ground_truth", kind)]
    found = score(*columns)
    expected = GOLDEN["soft_accuracy"]["summary"]
    assert round(found["overall"], 2) == expected["overall"]
    assert {name: round(value, 2) for name, value in found["per_kind"].items()} == expected[summary]
    assert found["count"] == sum(found["count_per_kind"].values()) == len(QUESTIONS)
    assert found["unscored"] == 0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("couldntve", "couldntve"),  # one apostrophe may be missing, not two
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ("ow's'at", "'ow's'at"),
        ("yall'd've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("somebodyd", "somebodyd"),
        ("ill", "ill"),
        ("well", "well"),
    ],
)
def test_contractions(given, meant):
    assert plain_words(given) == meant


def test_contractions_are_as_many_as_in_the_public_list():
    assert len(CONTRACTIONS) == 114


def test_a_mark_beside_a_space_anywhere_leaves_no_space_anywhere():
    assert without_marks("red-blue - green") == "redblue  green"
    assert without_marks("red-blue/green") == "red blue green"


def test_line_breaks_and_tabs_are_spaces():
    assert normalize("\tred\nball ") == "red ball"


@pytest.mark.parametrize(("times", "expected"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100)])
def test_three_others_make_an_answer_right(times, expected):
    people = ["red"] * times + [f"colour {number}" for number in range(10 - times)]
    assert 100 * soft_accuracy("red", people) == pytest.approx(expected)


def test_people_who_agree_are_taken_by_the_letter():
    assert soft_accuracy("a dog", ["a dog"] * 10) == 0
    assert soft_accuracy("dog", ["dog"] * 10) == 1


def test_one_answer_is_compared_after_normalization_of_both():
    assert soft_accuracy("the Two dogs!", ("2 dogs",)) == 1
    assert soft_accuracy("2 dogs", ("a two dogs.",)) == 1
    assert soft_accuracy("2 cats", ("2 dogs",)) == 0


@pytest.mark.parametrize("people", range(1, 11))
def test_unanimity_is_right_whatever_the_number_of_people(people):
    assert soft_accuracy("yes", ["yes"] * people) == 1
    assert soft_accuracy("no", ["yes"] * people) == 0


@pytest.mark.parametrize("people", [2, 3, 4, 5, 6, 7, 8, 9, 11])
def test_other_numbers_than_ten_are_scored_by_their_share(people):
    for agreed in range(people + 1):
        given = ["a Dog."] * agreed + ["cat"] * (people - agreed)
        assert soft_accuracy("dog", given) == pytest.approx(agreed / people)


def test_results_say_which_rule_was_used():
    answers = [("red",), ("yes",) * 3, ("yes", "no"), ("2",) * 10, ()]
    found = score(["red", "yes", "yes", "2", "x"], answers, ["kind"] * 5)
    assert found["rules"] == {EQUALITY: 1, SHARE: 2, OFFICIAL: 1}
    assert found["overall"] == pytest.approx(100 * 3.5 / 4)


def test_questions_without_answers_are_counted_and_not_scored():
    found = score(["red", "red", "2"], [("red",), (), ()], ["colour", "colour", "number"])
    assert (found["overall"], found["count"], found["unscored"]) == (100, 1, 2)
    assert found["per_kind"] == {"colour": 100}
    assert found["count_per_kind"] == {"colour": 1}


def test_a_test_set_has_no_score():
    found = score(["red"], [()], ["colour"])
    assert found["overall"] is None and found["per_kind"] == {} and found["unscored"] == 1


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="2 predictions, 1 lists of answers and 2 kinds"):
        score(["red", "blue"], [("red",)], ["colour", "colour"])


def test_kinds_are_averaged_over_their_own_questions():
    found = score(["a", "red", "red"], [("yes",), ("red",), ("blue",)], ["x", "y", "y"])
    assert found["per_kind"] == {"x": 0, "y": 50}
    assert found["overall"] == pytest.approx(100 / 3)


def test_majority_is_the_score_of_the_most_frequent_answer():
    answers = [("yes",), ("yes",), ("no",), ("3",), ("2",), ()]
    kinds = ["yes/no"] * 3 + ["number"] * 3
    found = majority(answers, kinds)
    assert found["majority"] == 40
    assert found["majority_per_kind"] == {"yes/no": pytest.approx(200 / 3), "number": 50}


def test_majority_of_nothing_is_unknown():
    assert majority([()], ["number"]) == {"majority": None, "majority_per_kind": {}}
