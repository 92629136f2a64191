"""Baselines of question answering that see no image."""

import json

import pytest

from benchmarks.language_prior import Asked, main, priors


def asked(question, *answers, kind=""):
    return Asked(question, answers, kind)


TRAIN = [
    *[asked("is it", "yes")] * 5,
    *[asked("what color", "red")] * 2,
    asked("what color", "blue"),
]
HELD_OUT = [
    asked("is it", "yes", kind="yes/no"),
    asked("is it", "no", kind="yes/no"),
    asked("what color", "red", kind="color"),
    asked("who is it", "yes", kind="other"),
]


def test_the_scores():
    found = priors(TRAIN, HELD_OUT)
    assert found["most_frequent"]["answer"] == "yes"
    assert found["most_frequent"]["overall"] == 50
    of_question = found["most_frequent_of_question"]
    assert of_question["per_kind"] == {"yes/no": 50, "color": 100, "other": 100}
    assert (of_question["overall"], of_question["known_questions"]) == (75, 75)


def test_held_out_answers_do_not_count():
    changed = [one._replace(answers=("green",)) for one in HELD_OUT]
    assert priors(TRAIN, changed)["most_frequent_of_question"]["overall"] == 0


def test_from_files(tmp_path, capsys):
    item = {"image": "0.png", "question": "Is it?", "question_id": 0, "answer": ["yes", "yes"]}
    for name in ("train", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps([item]))
    assert main([str(tmp_path / "train.json"), str(tmp_path / "test.json")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["baseline"] for line in lines] == ["most_frequent", "most_frequent_of_question"]
    assert [line["overall"] for line in lines] == [100, 100]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"image": "0.png"}, "test.json, item 0: 'question' must be a text, not None"),
        ({"image": "0.png", "question": "is it"}, "no question of the held-out list is answered"),
    ],
)
def test_mistakes_are_a_line(tmp_path, capsys, item, message):
    whole = {"image": "0.png", "question": "is it", "answer": "yes"}
    (tmp_path / "train.json").write_text(json.dumps([whole]))
    (tmp_path / "test.json").write_text(json.dumps([item]))
    assert main([str(tmp_path / "train.json"), str(tmp_path / "test.json")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
