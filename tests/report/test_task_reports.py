import json
import re

import numpy as np
import pytest

from albef_jax.evaluate.accuracy import judge
from albef_jax.evaluate.vqa_accuracy import majority, score
from albef_jax.report.rendering import render
from albef_jax.report.retrieval_examples import Examples
from albef_jax.report.task_examples import (
    AnsweredQuestion,
    GroundedPhrase,
    JudgedSentence,
    right_and_wrong,
)
from tests.helpers.report_page import COMMAND, IMAGE, Page, examples, recalls

EVIL = 'a <script>alert("x")</script> " onerror="alert(1)'
LINE = {"step": 20, "loss": 1.5, "loss_itc": 1.0, "loss_itm": 0.5, "accuracy": 0.25, "lr": 1e-4}
NO_BOXES = np.zeros((0, 4))
HEAT = np.arange(4.0).reshape(2, 2)


def shown_pairs(caption="a red ball"):
    found = examples(caption)
    return Examples(found.texts_of_images, found.images_of_texts, [])


def judged(label="entailment", predicted="neutral", sentence="a red ball", images=(IMAGE,)):
    shares = {"entailment": 0.25, "neutral": 0.625, "contradiction": 0.125}
    return JudgedSentence(images, sentence, label, predicted, shares)


def answered(truth=("red",), right=True, question="what colour?"):
    return AnsweredQuestion(IMAGE, question, [("red", 0.625), ("blue", 0.25)], truth, right)


def grounded(text="a red ball", boxes=((1, 1, 4, 4), (0, 0, 8, 8)), chosen=0, right=True):
    truth = None if right is None else (1, 1, 4, 4)
    boxes = np.array(boxes).reshape(-1, 4)
    words = [(word, HEAT) for word in text.split()]
    return GroundedPhrase(IMAGE, text, HEAT, words, boxes, chosen, truth, right)


RETRIEVAL = {
    "itc": {"text_retrieval": recalls(31.5, 60, 70), "image_retrieval": recalls(29.5, 61, 71)},
    "itm": {"text_retrieval": recalls(52.6, 80, 85), "image_retrieval": recalls(50.8, 81, 86)},
    "chance_r1": 0.2,
    "images": 500,
    "captions": 2500,
    "rerank": 16,
}
JUDGEMENT = judge(
    np.eye(3)[[0, 0, 1, 1, 2]],
    np.array([0, 0, 0, 1, 1]),
    ("entailment", "neutral", "contradiction"),
)
ANSWERS = score(
    ["yes", "yes", "2", "x"],
    [("yes",), ("no",), ("2",), ()],
    ["yes/no", "yes/no", "number", "number"],
) | majority([("yes",), ("no",), ("2",)], ["yes/no", "yes/no", "number"])
GROUNDING = {
    "itm": {"accuracy": {"val": 58.46, "testA": 65.89}, "pointing": 61.3},
    "itc": {"accuracy": {"val": 51.58, "testA": 60.09}, "pointing": 55.5},
    "chance": 16.2,
    "count": 10_758,
}
# By template: results of the task, and one example whose text is given.
TASKS = {
    "retrieval": (
        {"task": "retrieval", "retrieval": RETRIEVAL, "protocol": "Ties count as wrong."},
        shown_pairs,
    ),
    "judgements": (
        {"task": "entailment", "judgement": JUDGEMENT},
        lambda text: [judged(sentence=text)],
    ),
    "answers": ({"task": "vqa", "answers": ANSWERS}, lambda text: [answered(question=text)]),
    "grounding": ({"task": "grounding", "grounding": GROUNDING}, lambda text: [grounded(text)]),
}


@pytest.fixture
def page(tmp_path):
    """Writes the report of a task, and reads it back."""

    def write(template, shown=None, figures=None, **context):
        (tmp_path / "metrics.jsonl").write_text(json.dumps(LINE) + "\n")
        (tmp_path / "config.json").write_text("{}")
        results, example = TASKS[template]
        results = {"preset": "demo", "step": 12_000, "evaluated_on": "unseen ones", **results}
        results |= figures or {}
        shown = shown if shown is not None else example("a red ball")
        path = render(f"{template}.html", tmp_path, results, COMMAND, examples=shown, **context)
        return Page(path.read_text(encoding="utf-8"))

    return write


def text_of(page):
    return " ".join(page.text.split())


@pytest.mark.parametrize("template", TASKS)
def test_page_is_self_contained(page, template):
    found = page(template)
    assert not found.all("script") and not found.all("link") and not found.all("iframe")
    for _, attributes in found.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert re.match(r"data:image/|#|$", attributes.get(name) or "")
    assert "url(" not in found.text and "@import" not in found.text


@pytest.mark.parametrize("template", TASKS)
def test_links_within_the_page_lead_somewhere(page, template):
    found = page(template)
    targets = {attributes.get("id") for _, attributes in found.tags}
    links = [attributes["href"].removeprefix("#") for attributes in found.all("a")]
    assert len(links) >= 4 and set(links) <= targets


@pytest.mark.parametrize("template", TASKS)
def test_texts_cannot_inject(page, template):
    _, example = TASKS[template]
    found = page(template, example(EVIL), {"evaluated_on": EVIL})
    assert not found.all("script")
    assert all("onerror" not in attributes for _, attributes in found.tags)
    assert found.text.count(EVIL) >= 2


@pytest.mark.parametrize("template", TASKS)
def test_every_image_is_described(page, template):
    images = page(template).all("img")
    assert images and all(image["alt"] for image in images)


@pytest.mark.parametrize("template", TASKS)
def test_how_it_was_run_is_told(page, template):
    text = text_of(page(template))
    assert COMMAND in text and "After 12,000 steps, on unseen ones." in text


def test_curves_of_the_tasks_appear(page):
    found = page("judgements")
    titles = [attributes["aria-label"] for attributes in found.all("svg")]
    assert titles == [
        "Loss, the sum",
        "Loss of each objective, log axis",
        "Accuracy in the batch, %",
        "Learning rate",
    ]
    assert "25 → 25" in found.text


def test_retrieval_figures_and_examples(page):
    found = page("retrieval")
    text = text_of(found)
    assert "first for 52.6 %; shown a caption, the right image for 50.8 %" in text
    assert "Guessing would give 0.2 %." in text
    assert "ITC 31.5 60.0 70.0 29.5 61.0 71.0" in text
    assert "ITM re-ranked 52.6 80.0 85.0 50.8 81.0 86.0" in text
    assert "ITM reads an image and a caption together. Ties count as wrong." in text
    assert "✗ two stars 3.20 ✓ a red ball 1.50" in text
    assert len(found.all("img")) == 3


def test_judgements_are_compared_with_no_model(page):
    text = text_of(page("judgements"))
    assert "judges 60.0 % of 5 sentences rightly" in text
    assert "saying “entailment” would give 60.0 %, guessing 33.3 %" in text
    assert "this model 60.0 % always “entailment” 60.0 % guessing 33.3 %" in text


def test_confusion_has_shares_of_its_rows(page):
    found = page("judgements")
    text = text_of(found)
    assert "entailment 2 67 % 1 33 % 0 0 % 66.7 %" in text
    assert "neutral 0 0 % 1 50 % 1 50 % 50.0 %" in text
    assert "contradiction 0 0 % 0 0 % 0 0 % – " in text
    assert len(found.all("td", **{"class": "cell diagonal"})) == 3
    shades = [cell["style"] for cell in found.all("td") if "cell" in cell.get("class", "")]
    assert shades[:3] == ["--share: 47%", "--share: 23%", "--share: 0%"]


def test_a_wrong_judgement_says_what_is_true(page):
    shown = [judged(), judged("neutral")]
    found = page("judgements", shown, shares="One of each.")
    text = text_of(found)
    assert "One of each. Bars are" in text
    assert "The model says “neutral”, the truth is “entailment”." in text
    assert "entailment ✓ 25 % neutral 62 % contradiction 12 %" in text
    assert "✓ right a red ball entailment 25 % neutral ✓ 62 %" in text


def test_two_images_are_told_apart(page):
    shown = [judged(images=(IMAGE, 255 - IMAGE))]
    found = page("judgements", shown, {"task": "nlvr"})
    assert "Sentences about two images: demo" in found.text
    alts = [image["alt"] for image in found.all("img")]
    assert alts == ["image 1 of: a red ball", "image 2 of: a red ball"]


@pytest.mark.parametrize("template", ["judgements", "answers", "grounding"])
def test_what_training_never_shows_is_told(page, template):
    (entry,) = TASKS[template][0].keys() - {"task"}
    figures = TASKS[template][0][entry]
    assert "training never shows" not in page(template).text
    unseen = {"unseen": {"accuracy": 62.04, "majority": 55.3, "count": 2}}
    text = text_of(page(template, figures={entry: figures | unseen}))
    assert f"Of these {figures['count']:,}, 2 show a combination" in text
    assert "of these alone: accuracy 62.04 %, most frequent answer 55.30 %." in text


def test_answers_are_scored_by_kind(page):
    found = page("answers")
    text = text_of(found)
    assert "score 66.7 % over 3 questions. One and the same answer" in text
    assert "would score 33.3 %." in text
    assert "yes/no 50.0 % line at 50.0 %; 2 questions" in text
    assert "number 100.0 % line at 100.0 %; 1 question" in text
    assert "1 question without a known answer: not scored." in text
    lines = [mark["style"] for mark in found.all("i", **{"class": "baseline"})]
    assert lines == ["left: 33.3%", "left: 50.0%", "left: 100.0%"]


def test_answers_without_a_baseline(page):
    figures = {"overall": 50.0, "per_kind": {"all kinds": 50.0}, "count": 2, "unscored": 0}
    found = page("answers", figures={"answers": figures})
    assert not found.all("i", **{"class": "baseline"}) and "most frequent" not in found.text
    assert "without a known answer" not in found.text


def test_answers_to_a_test_set_have_no_score(page):
    figures = score(["red"], [()], ["colour"])
    found = page("answers", [answered((), None)], {"answers": figures})
    assert "answered 1 question; no answers of people are known" in text_of(found)
    assert not found.all("li", **{"class": "right"})
    assert not found.all("p", **{"class": "outcome"})


def test_an_answer_is_marked_as_it_was_scored(page):
    people = ("blue",) * 6 + ("crimson",) * 3 + ("red",)
    text = text_of(page("answers", [answered(people, right=False)]))
    assert "✗ wrong what colour? red 62 % blue ✓ 25 %" in text
    assert "People answered: blue (6), crimson (3), red (1)" in text
    text = text_of(page("answers", [answered(("Red",), right=True)]))
    assert "✓ right what colour? red ✓ 62 % blue 25 % True answer: Red" in text


def test_grounding_of_both_branches_by_split(page):
    text = text_of(page("grounding"))
    assert "for 58.5 % (val), 65.9 % (testA) of 10,758 phrases" in text
    assert "picked at random is right for 16.2 %" in text
    assert "box, val box, testA hottest place" in text
    assert "ITM 58.5 65.9 61.3 ITC 51.6 60.1 55.5 random box 16.2 –" in text


def test_grounding_of_one_branch(page):
    figures = {"itc": {"accuracy": {"test": 40.0}, "pointing": 30.0}, "chance": None, "count": 9}
    text = text_of(page("grounding", figures={"grounding": figures}))
    assert "the right box for 40.0 % of 9 phrases" in text
    assert "ITC 40.0 30.0" in text and "ITM reads" not in text and "random" not in text


def test_grounding_without_boxes_tells_the_hottest_place(page):
    figures = {"itm": {"accuracy": {}, "pointing": 61.3}, "chance": None, "count": 9}
    shown = [grounded(boxes=(), chosen=None, right=None)]
    text = text_of(page("grounding", shown, {"grounding": figures}))
    assert "the hottest place is in the right box for 61.3 % of 9 phrases" in text
    assert "the image the whole phrase" in text and "Box:" not in text


def test_each_word_has_a_heat_map(page):
    found = page("grounding")
    alts = [image["alt"] for image in found.all("img")]
    assert alts[:2] == ["image with boxes for: a red ball", "heat map of: a red ball"]
    assert alts[2:] == [f"heat map of the word: {word}" for word in ("a", "red", "ball")]
    assert "✓ right a red ball boxes the whole phrase a red ball" in text_of(found)


def outcomes(*values):
    return [answered(right=value, question=str(place)) for place, value in enumerate(values)]


def places(shown):
    return [int(example.question) for example in shown]


def test_half_of_the_shown_are_wrong_in_order_of_appearance():
    shown, shares = right_and_wrong(outcomes(True, True, True, False, True, False, False), 4)
    assert places(shown) == [0, 1, 3, 5]
    assert shares == (
        "The first 2 right and the first 2 wrong ones are shown; of the 7 looked at, 57.1 % are "
        "right."
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((True, True, True, True, False), [0, 1, 2, 4]),
        ((False, False, False, True, False), [0, 1, 2, 3]),
        ((True, None, False, None, None), [0, 1, 2, 3]),
        ((True, False), [0, 1]),
    ],
)
def test_where_one_side_has_too_few_the_others_fill_up(values, expected):
    assert places(right_and_wrong(outcomes(*values), 4)[0]) == expected


def test_what_is_not_known_is_told():
    _, shares = right_and_wrong(outcomes(True, None), 4)
    assert shares.endswith("100.0 % are right. Of 1 more the truth is not known.")
    shown, shares = right_and_wrong(outcomes(None, None, None), 2)
    assert places(shown) == [0, 1]
    assert shares == "The truth of these 3 examples is not known."


def test_nothing_to_show():
    assert right_and_wrong([], 4)[0] == []
