"""Scores of answers to questions, as the public VQA evaluation counts them.

An answer is normalised in two steps: punctuation is removed; then articles are removed, number
words become digits, and contractions get their apostrophe back. With ten annotators the official
rule applies (right if three of the others gave the answer); with other numbers, the share that gave
it.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

# Rules of scoring, in words; results say how many questions fell under each.
OFFICIAL = "ten answers: three of the others gave it"
SHARE = "share of the people who gave it"
EQUALITY = "one answer: equality"
PEOPLE = 10  # annotators of each question in the official data set

MARKS = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    word: str(number)
    for words in ("zero one two three four five six seven eight nine ten", "none")
    for number, word in enumerate(words.split())
}
CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""
# A contraction is recognised by its spellings with one apostrophe missing. The public list inverts
# one of them, and so do we.
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}

_DIGIT_GROUPS = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def without_marks(answer: str) -> str:
    """Drop periods, except before a digit, and marks; a mark inside a word becomes a space.

    A mark with a space beside it anywhere in the answer is removed instead; so are all marks in an
    answer with a number like "1,000".
    """
    grouped = _DIGIT_GROUPS.search(answer)
    plain = answer
    for mark in MARKS:
        alone = grouped or f"{mark} " in answer or f" {mark}" in answer
        plain = plain.replace(mark, "" if alone else " ")
    return _PERIOD.sub("", plain)


def plain_words(answer: str) -> str:
    """Lower case, no articles, digits for number words, contractions with their apostrophes."""
    words = (NUMBERS.get(word, word) for word in answer.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def normalize(answer: str) -> str:
    """An answer after both steps."""
    return plain_words(without_marks(_one_line(answer)))


def _one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def rule_of(people: int) -> str:
    """The rule that scores a question with this number of annotators."""
    return {1: EQUALITY, PEOPLE: OFFICIAL}.get(people, SHARE)


def soft_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The soft accuracy of a prediction, 0 to 1.

    With ten answers, the official rule: the mean over the annotators of min(1, n / 3), where n of
    the other nine gave the prediction. The prediction is always normalised, the annotators' answers
    only lose their marks, and only if they differ.

    That rule is made for ten: with three annotators who all agree it would give 2/3. With any other
    number the score is the share that agrees, after normalisation of both: 1 if all do; with one
    answer (Visual Genome, the built-in world), 1 or 0.
    """
    predicted = normalize(prediction)
    if len(answers) != PEOPLE:
        return sum(predicted == normalize(answer) for answer in answers) / len(answers)
    given = [_one_line(answer) for answer in answers]
    if len(set(given)) > 1:
        given = [without_marks(answer) for answer in given]
    agreed = given.count(predicted)
    return float(np.mean([min(1.0, (agreed - (answer == predicted)) / 3) for answer in given]))


def score(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], kinds: Sequence[str]
) -> dict:
    """Mean soft accuracy in percent, over all questions and by their kind.

    Questions without answers, as in a test set, are counted but not scored.

    Args:
        answers: of the annotators, for each prediction; empty if unknown.
        kinds: a question's kind, such as "yes/no"; any grouping will do.

    Returns:
        `overall` (None if no question has an answer); `per_kind` and `count_per_kind`, by kind in
        order of appearance; `count`, of scored questions; `rules`, how many of them were scored by
        which; `unscored`.

    Raises:
        ValueError: the three differ in length.
    """
    if not len(predictions) == len(answers) == len(kinds):
        raise ValueError(
            f"{len(predictions)} predictions, {len(answers)} lists of answers and {len(kinds)} "
            "kinds: there must be one of each for a question"
        )
    by_kind: dict[str, list[float]] = {}
    for prediction, truth, kind in zip(predictions, answers, kinds, strict=True):
        if truth:
            by_kind.setdefault(kind, []).append(soft_accuracy(prediction, truth))
    scores = [value for values in by_kind.values() for value in values]
    return {
        "overall": _percent(scores) if scores else None,
        "per_kind": {kind: _percent(values) for kind, values in by_kind.items()},
        "count_per_kind": {kind: len(values) for kind, values in by_kind.items()},
        "count": len(scores),
        "rules": dict(Counter(rule_of(len(truth)) for truth in answers if truth)),
        "unscored": len(predictions) - len(scores),
    }


def majority(answers: Sequence[Sequence[str]], kinds: Sequence[str]) -> dict:
    """The baseline without images: the score of the most frequent answer.

    Returns:
        `majority`: in percent, of one answer for all questions (None if no question has one);
        `majority_per_kind`: by kind, of each kind's own most frequent answer.
    """
    by_kind: dict[str, list[Sequence[str]]] = {}
    for truth, kind in zip(answers, kinds, strict=True):
        if truth:
            by_kind.setdefault(kind, []).append(truth)
    known = [truth for truths in by_kind.values() for truth in truths]
    return {
        "majority": _commonest(known) if known else None,
        "majority_per_kind": {kind: _commonest(truths) for kind, truths in by_kind.items()},
    }


def _commonest(truths: list[Sequence[str]]) -> float:
    commonest, _ = Counter(answer for truth in truths for answer in truth).most_common(1)[0]
    return _percent([soft_accuracy(commonest, truth) for truth in truths])


def _percent(scores: list[float]) -> float:
    return 100 * float(np.mean(scores))
