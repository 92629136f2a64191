"""Questions in the official annotation format of VQA and Visual Genome, and the answer list."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from albef_jax.data.annotations.checks import (
    did_you_mean,
    image_of,
    joined,
    parsed_items,
    probe_images,
    read_image,
    read_list,
    refuse,
    text_of,
    unread,
)
from albef_jax.data.annotations.files import read_lines
from albef_jax.data.records import Question
from albef_jax.data.releases.formats import COMMAND
from albef_jax.data.tokenizer import well_formed
from albef_jax.storage.paths import AnyPath, path_of, under

DATASETS = ("vqa", "vg")


class _Row(NamedTuple):
    image: str
    question: str
    answers: tuple[str, ...]
    dataset: str
    question_id: int
    kind: str


class JsonQuestions:
    """Random access to the questions of one or more annotation files, one after the other.

    An item is `{"image", "question", "question_id", "answer", "dataset"}`. "dataset" is "vqa" (the
    default), with a list of annotators' answers, or "vg", with one answer. Outside training the
    answer is optional and a unique "question_id" is required. A text "answer_type" or
    "question_type" becomes the question's kind.

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.
        vg_image_root: the same for items of "vg"; None for `image_root`.
        training: whether every question needs an answer.
        max_answers: how many different answers a question may have; None for any number.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of the
            probed images are missing.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        image_root: str | AnyPath,
        vg_image_root: str | AnyPath | None = None,
        *,
        training: bool,
        max_answers: int | None = None,
        setting: str = "data.train_files",
    ):
        vg_root = image_root if vg_image_root is None else vg_image_root
        self._roots = {"vqa": path_of(image_root), "vg": path_of(vg_root)}
        parse = _Parser(training, max_answers)
        self._rows = list(parsed_items(files, parse, setting))
        for dataset, root in self._roots.items():
            images = [row.image for row in self._rows if row.dataset == dataset]
            probe_images(root, images, f"data.{'vg_' * (dataset == 'vg')}image_root")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Question:
        """The question at `index`; raises `BadSample` if its image is missing or unusable."""
        row = self._rows[index]
        path = under(self._roots[row.dataset], row.image)
        return Question(str(path), read_image(path, self.upright), *row[1:])

    def texts(self, index: int) -> tuple[str, ...]:
        """The question alone."""
        return (self._rows[index].question,)

    def answer_counts(self) -> np.ndarray:
        """How many different answers each question has, int `[N]`."""
        return np.array([len(set(row.answers)) for row in self._rows])

    def image_paths(self) -> Iterator[str]:
        """The path of each question's image."""
        for dataset, root in self._roots.items():
            yield from joined(root, (row.image for row in self._rows if row.dataset == dataset))

    def without_image(self, index: int) -> Question:
        """The same with one black pixel, for answers that must cover every question."""
        row = self._rows[index]
        path = under(self._roots[row.dataset], row.image)
        return Question(str(path), np.zeros((1, 1, 3), np.uint8), *row[1:])


class _Parser:
    """Items to rows; remembers question ids, and keeps one copy of each answer."""

    def __init__(self, training: bool, max_answers: int | None):
        self._training = training
        self._max_answers = max_answers
        self._ids: set[int] = set()
        self._tidy = cache(well_formed)

    def __call__(self, item: dict[str, Any]) -> _Row:
        image, question = image_of(item), text_of(item, "question")
        dataset = item.get("dataset", "vqa")
        if dataset not in DATASETS:
            hint = did_you_mean(dataset, DATASETS)
            raise ValueError(f"'dataset' {dataset!r} is none of {', '.join(DATASETS)}{hint}")
        answers = self._answers(item, dataset)
        kind = item.get("answer_type") or item.get("question_type") or ""
        return _Row(image, question, answers, dataset, self._question_id(item), str(kind))

    def _answers(self, item: dict[str, Any], dataset: str) -> tuple[str, ...]:
        given = item.get("answer", [])
        if "answer" not in item and "answers" in item:
            raise ValueError(
                f"has no 'answer'{unread(item, 'answer')}; write the texts as 'answer': [...], or "
                f"convert the official file with {COMMAND}"
            )
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("'answer' must be a text or a list of texts")
        if dataset == "vg" and len(texts) > 1:
            raise ValueError(
                f"'answer' has {len(texts)} texts, but 'dataset' is 'vg', where a question has one"
            )
        if self._training and not texts:
            raise ValueError("has no 'answer'; add one or leave the item out of training")
        if texts and not any(text.strip() for text in texts):
            raise ValueError("'answer' is empty; write one or remove the item")
        most = self._max_answers
        if most is not None and (different := len(set(texts))) > most:
            raise ValueError(
                f"'answer' has {different} different texts, more than data.max_answers={most}; "
                "raise it or merge answers"
            )
        return tuple(map(self._tidy, texts))

    def _question_id(self, item: dict[str, Any]) -> int:
        """The item's id; -1 if it has none, which only training allows."""
        number = item.get("question_id")
        if number is None and self._training:
            return -1
        if type(number) is not int or not 0 <= number < 2**63:
            raise ValueError(f"'question_id' must be a whole number, 0 or more, not {number!r}")
        if not self._training and number in self._ids:
            raise ValueError(
                f"'question_id' {number} occurs in an earlier item, too; answers are submitted by "
                "it, so give each question its own"
            )
        self._ids.add(number)
        return number


def read_answer_list(file: str | AnyPath) -> tuple[str, ...]:
    """The answers to choose from, each once: a JSON list of texts, or a `.txt` with one a line.

    Raises:
        ValueError: the file is missing, not UTF-8, empty, or not a JSON list; or it has entries
            that are empty, repeated or not texts, all named in one message.
    """
    answers: dict[str, int] = {}
    problems = []
    path = path_of(file)
    is_text = path.suffix.lower() == ".txt"
    entries = read_lines(path) if is_text else read_list(path, "data.answer_list")
    if not entries:
        raise ValueError(f"{file}: is empty; write one answer a line")
    for number, answer in enumerate(entries):
        if not isinstance(answer, str):
            problems.append(f"{file}, item {number}: {answer!r} is not a text")
        elif not answer.strip():
            problems.append(f"{file}, item {number}: is empty; remove it")
        elif (first := answers.setdefault(well_formed(answer), number)) != number:
            problems.append(f"{file}, item {number}: {answer!r} is item {first}, too; remove one")
    refuse(problems)
    return tuple(answers)
