"""What questions tell about their answers without any image: two baselines of question answering.

The first always gives the most frequent answer of the training list; the second the most frequent
answer of the same question there, and for a question that is not there that of all. Scored as a
run's evaluation scores (`albef_jax.evaluate.vqa_accuracy`), in percent.

Example:
    python -m benchmarks.language_prior data/easy_vqa/train.json data/easy_vqa/test.json
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from albef_jax.data.annotations.checks import read_list
from albef_jax.data.releases.fields import Given, items, take
from albef_jax.data.tokenizer import clean_question
from albef_jax.evaluate.vqa_accuracy import score
from albef_jax.system.terminal import print_result


class Asked(NamedTuple):
    """A question without its image: cleaned text, answers, kind."""

    question: str
    answers: tuple[str, ...]
    kind: str


def read(file: Path) -> Iterator[Asked]:
    """The questions of an annotation list that have answers.

    Raises:
        ValueError: an unreadable list, or an item without a question.
    """
    for place, item in items(Given(str(file), read_list(file))):
        question = take(place, item, "question", str)
        given = item.get("answer", [])
        answers = (given,) if isinstance(given, str) else tuple(given)
        kind = item.get("answer_type") or item.get("question_type") or ""
        if answers:
            yield Asked(clean_question(question, len(question)), answers, str(kind))


def priors(train: Sequence[Asked], held_out: Sequence[Asked]) -> dict[str, dict]:
    """Scores of the two baselines on held-out questions, as `score` gives them.

    Returns:
        `most_frequent` and `most_frequent_of_question`, each with `overall`, `per_kind`, ...; the
        latter with `known_questions`, the percentage of held-out questions that are in training.

    Raises:
        ValueError: no training question, or no held-out one, has an answer.
    """
    if not train or not held_out:
        raise ValueError(
            f"no question of the {'held-out' if train else 'training'} list is answered"
        )
    overall: Counter[str] = Counter()
    of_question: dict[str, Counter[str]] = {}
    for asked in train:
        overall.update(asked.answers)
        of_question.setdefault(asked.question, Counter()).update(asked.answers)
    ((commonest, _),) = overall.most_common(1)
    truths, kinds = [one.answers for one in held_out], [one.kind for one in held_out]
    counts = [of_question.get(one.question, overall) for one in held_out]
    guesses = [count.most_common(1)[0][0] for count in counts]
    known = sum(one.question in of_question for one in held_out)
    return {
        "most_frequent": {"answer": commonest, **score([commonest] * len(truths), truths, kinds)},
        "most_frequent_of_question": {
            "known_questions": 100 * known / len(held_out),
            **score(guesses, truths, kinds),
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one line of JSON for each baseline; 2 for errors that a user can fix."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language_prior",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("train", type=Path, help="annotation list that is counted")
    parser.add_argument("held_out", type=Path, help="annotation list that is scored")
    given = parser.parse_args(arguments)

    def lines() -> str:
        found = priors(list(read(given.train)), list(read(given.held_out)))
        return "\n".join(json.dumps({"baseline": name, **one}) for name, one in found.items())

    return print_result(lines)


if __name__ == "__main__":
    sys.exit(main())
