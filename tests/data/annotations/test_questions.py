import json

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.questions import JsonQuestions, read_answer_list
from albef_jax.errors import BadSample


@pytest.fixture
def root(tmp_path):
    for folder in ("coco", "genome"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            path = tmp_path / folder / f"{number}.png"
            Image.new("RGB", (8, 6), (number, len(folder), 0)).save(path)
    return tmp_path


def written(root, items, name="a.json"):
    path = root / name
    path.write_text(json.dumps(items), "utf-8")
    return path


def vqa(number=0, **more):
    item = {"image": f"{number}.png", "question": "is it?", "question_id": number}
    return {**item, "answer": ["yes", "no", "yes"], "dataset": "vqa", **more}


def vg(number=0, **more):
    item = {"image": f"{number}.png", "question": "who?", "question_id": 100 + number}
    return {**item, "answer": "a dog", "dataset": "vg", **more}


def opened(root, *items, training=True, **options):
    return JsonQuestions(
        [written(root, list(items))], root / "coco", root / "genome", training=training, **options
    )


def test_questions_of_both_datasets_with_their_own_image_roots(root):
    first, second = written(root, [vqa(1)]), written(root, [vg(2)], "b.json")
    questions = JsonQuestions([first, second], root / "coco", root / "genome", training=True)
    assert len(questions) == 2
    assert questions[0].answers == ("yes", "no", "yes")
    assert (questions[0].dataset, questions[0].question_id) == ("vqa", 1)
    assert questions[0].image[0, 0].tolist() == [1, 4, 0]
    assert (questions[1].answers, questions[1].dataset) == (("a dog",), "vg")
    assert questions[1].image[0, 0].tolist() == [2, 6, 0]
    assert questions[1].name == str(root / "genome/2.png")
    assert questions[-1].question == "who?"
    with pytest.raises(IndexError):
        questions[2]


def test_without_a_root_of_its_own_visual_genome_shares_the_other_one(root):
    questions = JsonQuestions([written(root, [vg(2)])], root / "coco", training=True)
    assert questions[0].image[0, 0].tolist() == [2, 4, 0]


def test_a_test_set_has_no_answers(root):
    item = vqa(0)
    del item["answer"]
    questions = opened(root, item, vqa(1), training=False)
    assert [question.answers for question in questions] == [(), ("yes", "no", "yes")]


def test_an_item_of_ones_own_needs_neither_dataset_nor_id_in_training(root):
    questions = opened(root, {"image": "0.png", "question": "is it?", "answer": "yes"})
    question = questions[0]
    assert (question.answers, question.dataset, question.question_id) == (("yes",), "vqa", -1)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, ""),
        ({"question_type": "is it"}, "is it"),
        ({"answer_type": "yes/no", "question_type": "is it"}, "yes/no"),
    ],
)
def test_the_kind_comes_from_the_types_of_the_original_annotations(root, more, kind):
    assert opened(root, vqa(**more))[0].kind == kind


def test_equal_answers_are_kept_once_in_memory(root):
    questions = opened(root, vqa(0), vqa(1))
    assert questions[0].answers[0] is questions[1].answers[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "'image' must be"),
        ({"question": " "}, "'question' is empty"),
        ({"question": 3}, "'question' must be a text, not 3"),
        ({"dataset": "VQA"}, r"'dataset' 'VQA' is none of vqa, vg; did you mean 'vqa'\?"),
        ({"dataset": "vg"}, "'answer' has 3 texts, but 'dataset' is 'vg'"),
        ({"answer": []}, "has no 'answer'; add one or leave the item out of training"),
        ({"answer": ""}, "'answer' is empty"),
        ({"answer": {"yes": 3}}, "'answer' must be a text or a list"),
        ({"answer": ["yes", 1]}, "'answer' must be a text or a list"),
        ({"question_id": "12"}, "'question_id' must be a whole number, 0 or more, not '12'"),
        ({"question_id": True}, "'question_id' must be a whole number"),
        ({"question_id": -1}, "'question_id' must be a whole number"),
    ],
)
def test_a_broken_item_is_named_with_file_number_and_field(root, change, message):
    with pytest.raises(ValueError, match=rf"a\.json, item 1: {message}"):
        opened(root, vqa(0), vqa(1, **change), vqa(2))


def test_an_item_without_a_question_and_one_that_is_no_object(root):
    item = vqa(1)
    del item["question"]
    with pytest.raises(ValueError) as refused:
        opened(root, item, "what?")
    assert "item 0: has no 'question'; add one" in str(refused.value)
    assert "item 1: is a str, not an object" in str(refused.value)


def test_more_different_answers_than_allowed_are_a_problem(root):
    assert len(opened(root, vqa(0), max_answers=2)) == 1
    with pytest.raises(ValueError, match=r"item 0: .* 2 different texts.*data\.max_answers=1"):
        opened(root, vqa(0), max_answers=1)


def test_question_ids_must_differ_in_evaluation_alone(root):
    assert len(opened(root, vqa(1), vqa(1))) == 2
    with pytest.raises(ValueError, match=r"a\.json, item 1: 'question_id' 1 occurs in an earlier"):
        opened(root, vqa(1), vqa(1), training=False)
    item = vqa(1)
    del item["question_id"]
    with pytest.raises(ValueError, match="'question_id' must be a whole number"):
        opened(root, item, training=False)


def test_problems_of_all_files_come_in_one_message(root):
    files = [written(root, [vqa(image=3)], f"{name}.json") for name in "ab"]
    with pytest.raises(ValueError) as refused:
        JsonQuestions([root / "no.json", *files], root, training=True)
    for part in ("no.json: cannot be read", "a.json, item 0", "b.json, item 0"):
        assert part in str(refused.value)


def test_messages_name_the_setting_that_the_files_came_from(root):
    with pytest.raises(ValueError, match=r"remove the file from data\.eval_files"):
        opened(root, training=False, setting="data.eval_files")
    with pytest.raises(ValueError, match=r"no annotation files given \(data\.eval_files\)"):
        JsonQuestions([], root, training=False, setting="data.eval_files")


def test_each_wrong_root_is_noticed_and_named(root):
    file = written(root, [vqa(0), vg(0)])
    with pytest.raises(ValueError, match=r"^data\.image_root=.*1 of 1"):
        JsonQuestions([file], root / "no", root / "genome", training=True)
    with pytest.raises(ValueError, match=r"^data\.vg_image_root=.*1 of 1"):
        JsonQuestions([file], root / "coco", root / "no", training=True)


def test_a_question_without_its_image_is_a_bad_sample_and_can_still_be_asked(root):
    questions = opened(root, vqa(0), vqa(1), vqa(2))
    (root / "coco/1.png").write_bytes(b"")
    with pytest.raises(BadSample, match="0 bytes") as bad:
        questions[1]
    asked = questions.without_image(1)
    assert bad.value.name == asked.name == str(root / "coco/1.png")
    assert (asked.question_id, asked.question, asked.image.shape) == (1, "is it?", (1, 1, 3))
    assert not np.any(asked.image)


def test_an_answer_list(root):
    answers = ["yes", "no", "café 😀", "Yes"]
    assert read_answer_list(written(root, answers)) == tuple(answers)


def test_an_answer_list_of_lines(root):
    file = root / "answers.txt"
    file.write_bytes("\ufeffyes\r\nno \ncafé".encode())
    assert read_answer_list(file) == ("yes", "no", "café")
    file.write_text("yes\n\nyes\n")
    with pytest.raises(ValueError) as refused:
        read_answer_list(file)
    assert "item 1: is empty; remove it" in str(refused.value)
    assert "item 2: 'yes' is item 0, too" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty; write one answer a line"), (b"caf\xe9\n", "not UTF-8 at byte 3")],
)
def test_an_answer_list_of_lines_that_is_none(root, content, message):
    (root / "answers.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"answers\\.txt: {message}"):
        read_answer_list(root / "answers.txt")
    with pytest.raises(ValueError, match=r"lost\.txt: cannot be read: No such file"):
        read_answer_list(root / "lost.txt")


def test_a_broken_answer_list_names_every_entry(root):
    with pytest.raises(ValueError) as refused:
        read_answer_list(written(root, ["yes", "", "no", 3, "yes", None]))
    told = str(refused.value)
    for part in (
        "item 1: is empty",
        "item 3: 3 is not a text",
        "item 4: 'yes' is item 0, too",
        "item 5: None is not a text",
    ):
        assert part in told
    assert "item 2" not in told


def test_an_answer_list_that_is_none(root):
    with pytest.raises(ValueError, match=r"the list is empty; .*data\.answer_list"):
        read_answer_list(written(root, []))
    with pytest.raises(ValueError, match="holds one object with 'yes', not a list"):
        read_answer_list(written(root, {"yes": 0}))


@pytest.mark.parametrize("training", [True, False])
def test_answers_that_are_not_read_are_named(root, training):
    """VizWiz and VQA have them as a list of objects; without them nothing could be scored."""
    told = {**vqa(0), "answers": [{"answer": "red"}]}
    told.pop("answer", None)
    with pytest.raises(ValueError, match=r"its 'answers' is not read; .*tools\.convert"):
        JsonQuestions([written(root, [told])], root, training=training)
