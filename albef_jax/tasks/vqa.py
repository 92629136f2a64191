"""Visual question answering: an answer decoder, trained on weighted answers."""

import json
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.option_groups import distillation_options, finetune_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.build import open_answer_list, open_questions
from albef_jax.data.examples import QuestionExamples, encode_answers
from albef_jax.data.images.augment import EvalTransform, Transform
from albef_jax.data.records import Question
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.distributed.mesh import local_rows, to_devices
from albef_jax.distributed.sync import is_main_process
from albef_jax.errors import BadSample
from albef_jax.evaluate.compositional import lines_of, of_unseen
from albef_jax.evaluate.queries import Row, right
from albef_jax.evaluate.vqa_accuracy import majority, score, soft_accuracy
from albef_jax.inference.answer_decoding import Answerer, Generated, Ranked
from albef_jax.inference.soundness import check_finite
from albef_jax.losses.answer_rows import rows_of_a_pass
from albef_jax.losses.base import Loss
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models.albef import Params
from albef_jax.report.task_examples import AnsweredQuestion, right_and_wrong
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import gather_records, held_out_register, local_batches
from albef_jax.train.state import TrainState


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    finetune_options(config, batch_size=256, epochs=8, lr=2e-5)
    distillation_options(config)
    config.optimizer.warmup_periods = 4
    config.data.vg_image_root = ""  # where images of Visual Genome items are
    config.data.answer_list = ""  # JSON list or .txt to rank; empty: answers are generated
    config.data.answer_len = 10  # tokens, [CLS] and [SEP] included
    config.data.max_answers = 10  # different answers that a question may have
    config.evaluation.batch_size = 16
    config.evaluation.rank = 128  # answers that the decoder ranks, per question
    config.evaluation.beams = 3  # when generating; 1 is greedy


SHOWN = 5  # best answers kept of a question
SUBMISSION = "answers.json"
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Answered:
    """A question, its image set aside, with its best answers."""

    place: int
    question: Question
    answers: list[tuple[str, float]]
    readable: bool

    def as_row(self) -> list:
        """What other processes are told, as JSON."""
        asked = {name: value for name, value in vars(self.question).items() if name != "image"}
        return [self.place, asked, self.answers, self.readable]

    @staticmethod
    def of_row(row: list) -> "Answered":
        """The inverse of `as_row`."""
        place, asked, answers, readable = row
        question = Question(image=NO_IMAGE, **{**asked, "answers": tuple(asked["answers"])})
        return Answered(place, question, [(text, share) for text, share in answers], readable)

    @property
    def right(self) -> bool | None:
        """Whether the best answer scores at all; None without reference answers."""
        truth = self.question.answers
        return soft_accuracy(self.answers[0][0], truth) > 0 if truth else None

    def row(self) -> Row:
        """The same for `queries.csv`."""
        asked, (answer, share) = self.question, self.answers[0]
        known = self.readable and bool(asked.answers)
        return {
            "query": asked.question_id,
            "text": asked.question,
            "right": right(self.right if known else None),
            "doubt": share,
            "image": asked.name,
            "kind": asked.kind,
            "answer": answer,
            "probability": share,
            "score": 100 * soft_accuracy(answer, asked.answers) if known else "",
            "truth": " | ".join(asked.answers),
            "readable": int(self.readable),
        }


class Vqa(Task):
    """Questions about images."""

    inputs = ("image", "text_ids", "text_mask", "answer_ids", "answer_mask", "answer_weight")
    items = "questions"

    def __init__(self, config: ConfigDict, workdir: Path, eval_only: bool = False):
        super().__init__(config, workdir, eval_only)
        self.answer_tokenizer = Tokenizer(config.data.vocab, config.data.answer_len)
        self.answers = open_answer_list(config)

    def open_train(self) -> Any:
        """The training questions."""
        return open_questions(self.config, "train")[0]

    def open_eval(self) -> tuple[Any, str]:
        """The held-out questions."""
        return open_questions(self.config, "eval")

    def examples(self, source: Any, transform: Transform) -> QuestionExamples:
        """What makes examples of questions."""
        data = self.config.data
        return QuestionExamples(
            source,
            transform,
            self.tokenizer,
            data.max_words,
            self.answer_tokenizer,
            self._most_answers,
        )

    def row_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """With answers and their weights."""
        data = self.config.data
        tokens = jax.ShapeDtypeStruct((self._most_answers, data.answer_len), np.int32)
        weight = jax.ShapeDtypeStruct((self._most_answers,), np.float32)
        answers = {"answer_ids": tokens, "answer_mask": tokens, "answer_weight": weight}
        return super().row_shapes() | answers

    @cached_property
    def answer_counts(self) -> np.ndarray:
        """How many answers each of the source's questions has, int `[N]`."""
        return self.source.answer_counts()

    @property
    def _most_answers(self) -> int:
        """Of a question; files that only evaluate may have none."""
        return max(1, int(self.answer_counts.max()))

    def sizes(self) -> dict[str, Any]:
        """With how many questions have no, one, two ... answers: the step's shapes follow."""
        return super().sizes() | {"questions by answers": np.bincount(self.answer_counts).tolist()}

    def loss(self) -> Loss:
        """The weighted likelihood of the answers, side by side where that saves rows."""
        part = self.batch_size // self.config.train.microbatches
        questions = part // math.gcd(part, jax.device_count())  # of a device at a time
        counts, most = self.answer_counts, self._most_answers
        rows = rows_of_a_pass(float(counts.mean()), float(counts.std()), most, questions)
        saves = rows < questions * most
        return VqaLoss(self.trained_model, rows if saves else None, questions)

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Soft accuracy, and `answers.json`: every question's answer, as one submits it."""
        answers = self.answers
        found = self._answer_all(state.params, mesh)
        self._write_submission(found)
        figures = _scored(found)
        readable = [one for one in found if one.readable]

        def part(places: list[int]) -> dict[str, float]:
            scored = _scored([readable[place] for place in places])
            return {"accuracy": scored["overall"], "majority": scored["majority"]}

        figures |= of_unseen(self.held_out, [one.place for one in readable], part)
        figures["unreadable"] = sum(not one.readable for one in found)
        figures["method"] = (
            f"the best of {len(answers)} answers, ranked"
            if answers
            else f"generated with {self.config.evaluation.beams} beams"
        )
        lines = [f"answers: {figures['method']}"]
        if figures["count"]:
            lines.append(
                f"accuracy {figures['overall']:.2f} % of {figures['count']} questions (most "
                f"frequent answer {figures['majority']:.2f} %)"
            )
            lines += [f"scored by: {rule}, {n} questions" for rule, n in figures["rules"].items()]
        lines += lines_of(figures)
        lines.append(f"every question's answer is in {self.workdir / SUBMISSION}")
        results = self.results(state, answers=figures)
        scores = {"accuracy": figures["overall"]} if figures["count"] else {}
        rows = [one.row() for one in found]
        return Evaluation(results, lines, "answers.html", self._examples(found), scores, rows)

    def _answer_all(self, params: Params, mesh: Mesh) -> list[Answered]:
        """Answers to all questions, in their order.

        A question whose image cannot be read is answered from a black one, and counted: a
        submission must hold every question.
        """
        with held_out_register(self) as register:
            own = [one.as_row() for one in self._answer_own(params, mesh, register)]
        return [Answered.of_row(row) for row in gather_records(own)]

    def _answer_own(self, params: Params, mesh: Mesh, register: BadSamples) -> Generator[Answered]:
        """Answers to the questions that this process reads."""
        source = self.held_out
        examples = self.examples(source, EvalTransform(self.model.image_size))

        def read(index: int) -> dict[str, Any]:
            try:
                question, readable = source[index], True
            except BadSample as reason:
                register.report(reason)
                question, readable = source.without_image(index), False
            row = examples.asked(question)
            return row | {"question": replace(question, image=NO_IMAGE), "readable": readable}

        run, count = self._run, 0
        for batch in local_batches(self, read, self._blank(), register):
            arrays = {name: batch[name] for name in ("image", "text_ids", "text_mask")}
            best = local_rows(mesh, run(params, to_devices(mesh, arrays)))
            scores = np.asarray(best.scores if isinstance(best, Ranked) else best.score)
            usable = np.flatnonzero(batch["valid"])
            check_finite("scores", scores[usable], count)
            count += len(usable)
            for row in map(int, usable):
                told = self._in_words(best, row, self.answers)
                place, readable = int(batch["sample_index"][row]), bool(batch["readable"][row])
                yield Answered(place, batch["question"][row], told, readable)

    @cached_property
    def _run(self) -> Callable:
        """Compiled once, however often the run is evaluated."""
        options, tokenizer = self.config.evaluation, self.answer_tokenizer
        answerer = Answerer(
            self.model,
            encode_answers(tokenizer, self.answers) if self.answers else None,
            options.rank,
            options.beams,
            self.config.data.answer_len,
            (tokenizer.cls_id, tokenizer.sep_id),
        )
        return answerer.compile()

    def _blank(self) -> dict[str, Any]:
        question = Question("", NO_IMAGE, "", (), "vqa", -1)
        row = self.examples((), EvalTransform(self.model.image_size)).asked(question)
        return row | {"question": question, "readable": False}

    def _in_words(
        self, best: Ranked | Generated, row: int, answers: tuple[str, ...]
    ) -> list[tuple[str, float]]:
        """The best answers to one question, with their share among the ranked ones."""
        if isinstance(best, Generated):
            text = self.answer_tokenizer.decode(np.asarray(best.answer_ids[row]))
            return [(text, float(np.exp(best.score[row])))]
        pairs = zip(best.places[row][:SHOWN], best.probabilities[row], strict=False)
        return [(answers[place], float(share)) for place, share in pairs]

    def _write_submission(self, found: list[Answered]) -> None:
        lines = [
            {"question_id": one.question.question_id, "answer": one.answers[0][0]} for one in found
        ]
        if is_main_process():
            path = self.workdir / SUBMISSION
            path.write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")

    def _examples(self, found: list[Answered]) -> dict[str, Any]:
        """Right and wrong ones; records are read again for their images."""
        shown, shares = right_and_wrong(
            [one for one in found if one.readable], self.config.evaluation.examples
        )
        examples = [
            AnsweredQuestion(
                self.held_out[one.place].image,
                one.question.question,
                one.answers,
                one.question.answers,
                one.right,
            )
            for one in shown
        ]
        return {"examples": examples, "shares": shares}


def _scored(found: list[Answered]) -> dict[str, Any]:
    """Scores of the best answers, and of the most frequent ones."""
    truths = [one.question.answers for one in found]
    kinds = [one.question.kind for one in found]
    return score([one.answers[0][0] for one in found], truths, kinds) | majority(truths, kinds)


TASK = TaskSpec(model="vqa", options=options, run=Vqa, scores=("accuracy",))
