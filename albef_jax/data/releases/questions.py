"""VQA v2's questions and annotations, VizWiz, and easy-VQA."""

import re
from collections.abc import Iterator
from typing import Any

from albef_jax.data.releases.fields import Converted, Given, Item, Options, items, take


def is_vqa(content: object) -> bool:
    """`{"questions": [...]}`, or `{"annotations": [{"question_id", "answers"}]}`."""
    return isinstance(content, dict) and (_has_questions(content) or _has_answers(content))


def vqa(files: list[Given], options: Options) -> Converted:
    """One item a question, with the answers of all annotators if their file is there, too."""
    asked = [given for given in files if _has_questions(given.content)]
    answered = [given for given in files if _has_answers(given.content)]
    if not asked:
        raise ValueError(
            f"{answered[0].file}: VQA's answers alone; give the file of the questions, too"
        )
    answers = dict(_answer(*one) for given in answered for one in items(given, "annotations"))
    rows: list[Item] = []
    for given in asked:
        name = _image_name(given, options)
        for place, question in items(given, "questions"):
            number = take(place, question, "question_id", int)
            rows.append(
                {
                    "image": name(take(place, question, "image_id", int)),
                    "question": take(place, question, "question", str),
                    "question_id": number,
                    "dataset": "vqa",
                    **answers.pop(number, {}),
                }
            )
    if answered and (lacking := sum("answer" not in row for row in rows)):
        raise ValueError(f"{lacking} questions have no answers in {answered[0].file}")
    if answers:
        raise ValueError(f"{answered[0].file}: {len(answers)} answers belong to no question")
    return Converted(rows)


def _image_name(given: Given, options: Options) -> Any:
    """COCO's file name of an image, from the split that the file names."""
    subtype = given.content.get("data_subtype")
    if not isinstance(subtype, str) or not subtype:
        raise ValueError(f"{given.file}: has no 'data_subtype' (train2014, val2014, test2015)")
    folder = subtype.replace("test-dev2015", "test2015")
    return lambda number: f"{options.images}{folder}/COCO_{folder}_{number:012d}.jpg"


def _answer(place: str, told: Item) -> tuple[int, Item]:
    found: Item = {"answer": _texts(place, told)}
    if isinstance(told.get("answer_type"), str):
        found["answer_type"] = told["answer_type"]
    return take(place, told, "question_id", int), found


def _texts(place: str, told: Item) -> list[str]:
    answers = take(place, told, "answers", list)
    return [take(place, answer, "answer", str) for answer in answers]


def is_vizwiz(content: object) -> bool:
    """`[{"image", "question", "answers": [{"answer"}]}]`; the test set has no answers."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    if not {"image", "question"} <= first.keys() or "answer" in first or "question_id" in first:
        return False
    return isinstance(first.get("answers"), list) or str(first["image"]).startswith("VizWiz_")


def vizwiz(files: list[Given], options: Options) -> Converted:
    """One item a question; questions are numbered, since they have no id."""
    rows: list[Item] = []
    for given in files:
        for place, told in items(given):
            item: Item = {
                "image": options.images + take(place, told, "image", str),
                "question": take(place, told, "question", str),
                "question_id": len(rows),
                "dataset": "vqa",
            }
            if "answers" in told:
                item["answer"] = _texts(place, told)
            if isinstance(told.get("answer_type"), str):
                item["answer_type"] = told["answer_type"]
            rows.append(item)
    return Converted(rows)


def is_easy_vqa(content: object) -> bool:
    """`[["what shape is present?", "circle", 0]]`: question, answer, number of the image."""
    return isinstance(content, list) and bool(content) and _is_asked(content[0])


def easy_vqa(files: list[Given], options: Options) -> Converted:
    """One item a question, with a kind; questions are numbered, since they have no id."""
    rows: list[Item] = []
    for _, question, answer, image in _asked(files, options):
        rows.append(
            {
                "image": image,
                "question": question,
                "question_id": len(rows),
                "dataset": "vqa",
                "answer": [answer],
                "question_type": _kind(question),
            }
        )
    return Converted(rows)


def easy_vqa_captions(files: list[Given], options: Options) -> Converted:
    """One item an image, "a red circle", from the questions that begin with "what".

    Raises:
        ValueError: two answers of an image differ, or a question is not as it should be.
    """
    known: dict[str, dict[str, str]] = {}
    for place, question, answer, image in _asked(files, options):
        facts = known.setdefault(image, {})
        for name, value in _told(question, answer).items():
            if (before := facts.setdefault(name, value)) != value:
                raise ValueError(
                    f"{place}: the {name} of {image} is {value!r}, and {before!r} by an earlier "
                    "question"
                )
    rows: list[Item] = [
        {"image": image, "caption": f"a {facts['color']} {facts['shape']}"}
        for image, facts in known.items()
        if {"color", "shape"} <= facts.keys()
    ]
    left_out = len(known) - len(rows)
    note = f"{left_out} images whose color or shape no question tells"
    return Converted(rows, (note,) if left_out else ())


def _asked(files: list[Given], options: Options) -> Iterator[tuple[str, str, str, str]]:
    """Place, question, answer and image of each item."""
    for given in files:
        for number, told in enumerate(given.content):
            place = f"{given.file}, item {number}"
            if not _is_asked(told):
                raise ValueError(
                    f"{place}: must be [question, answer, number of the image], two texts and a "
                    f"whole number, 0 or more, not {told!r}"
                )
            question, answer, image = told
            yield place, question, answer, f"{options.images}images/{image}.png"


def _is_asked(told: object) -> bool:
    if not isinstance(told, list) or [type(part) for part in told] != [str, str, int]:
        return False
    question, answer, image = told
    return bool(question.strip() and answer.strip()) and image >= 0


def _kind(question: str) -> str:
    """What an easy-VQA question asks for."""
    words = question.lower().split()
    if words[0] == "what":
        return "color" if "color" in words else "shape"
    return "yes/no, negated" if {"no", "not"} & set(words) else "yes/no"


def _told(question: str, answer: str) -> dict[str, str]:
    """What a question and its answer tell of the shape in the image; yes and no are not used."""
    words = question.lower().removesuffix("?").split()
    if (kind := _kind(question)) not in ("color", "shape"):
        return {}
    told = {kind: answer}
    if kind == "color" and words[-1] != "shape":  # "what color is the circle?"
        told["shape"] = words[-1]
    if match := re.fullmatch(r"what is the (\w+) shape", " ".join(words)):
        told["color"] = match[1]
    return told


def _has_questions(content: Any) -> bool:
    return isinstance(content.get("questions"), list)


def _has_answers(content: Any) -> bool:
    found = content.get("annotations")
    if not isinstance(found, list) or not found:
        return False
    return isinstance(found[0], dict) and "answers" in found[0]
