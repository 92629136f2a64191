"""What entailment and NLVR2 share: sentences with a label, judged by accuracy."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.data.images.augment import EvalTransform
from albef_jax.distributed.mesh import local_rows, to_devices
from albef_jax.errors import NothingToEvaluate
from albef_jax.evaluate.accuracy import judge
from albef_jax.evaluate.compositional import lines_of, of_unseen
from albef_jax.evaluate.queries import Row, right
from albef_jax.losses.base import Loss
from albef_jax.losses.classification import ClassificationLoss, Logits
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize
from albef_jax.report.task_examples import JudgedSentence, right_and_wrong
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import (
    gather_arrays,
    gather_records,
    held_out_register,
    local_batches,
)
from albef_jax.train.state import TrainState


@dataclass(frozen=True)
class Verdict:
    """How a sentence was judged, without its images."""

    place: int
    label: str
    predicted: str
    probabilities: dict[str, float]

    def row(self, name: str, sentence: str) -> Row:
        """The same for `queries.csv`."""
        shares = {f"p({label})": share for label, share in self.probabilities.items()}
        sure = self.probabilities[self.predicted]
        told = {"label": self.label, "predicted": self.predicted}
        query = {"query": name, "text": sentence, "right": right(self.right), "doubt": sure}
        return query | told | shares

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.predicted == self.label

    def shown_with(self, images: tuple[np.ndarray, ...], sentence: str) -> JudgedSentence:
        """The same with what was judged."""
        return JudgedSentence(images, sentence, self.label, self.predicted, self.probabilities)


def read_verdicts(
    logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> list[Verdict]:
    """Verdicts of logits `[N, C]`."""
    shares = np.asarray(jax.nn.softmax(logits, axis=1))
    return [
        Verdict(
            place,
            classes[labels[place]],
            classes[int(np.argmax(row))],
            dict(zip(classes, map(float, row), strict=True)),
        )
        for place, row in enumerate(shares)
    ]


# Compiled once for a model, however often a run is evaluated.
@partial(jax.jit, static_argnums=(0, 1))
def _run(
    logits: Logits, config: ModelConfig, params: Params, batch: dict[str, jax.Array]
) -> jax.Array:
    image = normalize(batch["image"])
    return logits(config, params, image, batch["text_ids"], batch["text_mask"])


class Classification(Task):
    """Sentences about one image or two, each with a label."""

    inputs = ("image", "text_ids", "text_mask", "label")
    items = "sentences"
    logits: Logits
    classes: tuple[str, ...]

    def loss(self) -> Loss:
        """Cross-entropy with distillation."""
        return ClassificationLoss(self.trained_model, type(self).logits)

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Accuracy with a confusion matrix."""
        found = self._judge_all(state.params, mesh)
        logits, labels = found["logits"], found["label"]
        figures = judge(logits, labels, self.classes)

        def part(places: list[int]) -> dict[str, float]:
            judged = judge(logits[places], labels[places], self.classes)
            return {name: judged[name] for name in ("accuracy", "majority", "chance")}

        figures |= of_unseen(self.held_out, found["index"], part)
        figures["unreadable"] = self.eval_size() - figures["count"]
        results = self.results(state, judgement=figures)
        lines = [
            f"accuracy {figures['accuracy']:.2f} % of {figures['count']} (majority class "
            f"{figures['majority']:.2f} %, chance {figures['chance']:.2f} %)",
            *lines_of(figures),
        ]
        scores = {"accuracy": figures["accuracy"]}
        verdicts = read_verdicts(logits, labels, self.classes)
        rows = [one.row(*asked) for one, asked in zip(verdicts, found["asked"], strict=True)]
        return Evaluation(results, lines, "judgements.html", self._examples(found), scores, rows)

    def _judge_all(self, params: Params, mesh: Mesh) -> dict[str, Any]:
        """Logits, labels and places of all records that could be read."""
        examples = self.examples(self.held_out, EvalTransform(self.model.image_size))
        run = partial(_run, type(self).logits, self.model)

        def read(index: int) -> dict[str, Any]:
            record = self.held_out[index]
            return examples.of(record) | {"asked": (record.name, record.sentence)}

        parts: dict[str, list] = {"logits": [], "label": [], "index": []}
        asked: list[list] = []
        blank = self._blank() | {"asked": ("", "")}
        with held_out_register(self) as register:
            for batch in local_batches(self, read, blank, register):
                valid = batch["valid"]
                arrays = {name: batch[name] for name in ("image", "text_ids", "text_mask")}
                logits = local_rows(mesh, run(params, to_devices(mesh, arrays)))
                parts["logits"].append(logits[valid])
                parts["label"].append(batch["label"][valid])
                parts["index"].append(batch["sample_index"][valid])
                rows = np.flatnonzero(valid)
                asked += [[int(batch["sample_index"][row]), *batch["asked"][row]] for row in rows]
        found: dict[str, Any] = gather_arrays(
            {name: np.concatenate(of) for name, of in parts.items()}
        )
        found["asked"] = [texts for _, *texts in gather_records(asked)]
        if not len(found["label"]):
            raise NothingToEvaluate("no sentence to evaluate on could be read")
        return found

    def _blank(self) -> dict[str, Any]:
        blank = np.zeros((self.model.image_size, self.model.image_size, 3), np.uint8)
        length = self.config.data.text_len
        text_mask = np.zeros(length, np.int32)
        text_mask[0] = 1
        return {
            "image": self.blank_images(blank),
            "text_ids": np.zeros(length, np.int32),
            "text_mask": text_mask,
            "label": np.int32(0),
        }

    def blank_images(self, blank: np.ndarray) -> np.ndarray:
        """The padding of a batch."""
        return blank

    def _examples(self, found: dict[str, Any]) -> dict[str, Any]:
        """Right and wrong ones; records are read again for their images."""
        verdicts = read_verdicts(found["logits"], found["label"], self.classes)
        shown, shares = right_and_wrong(verdicts, self.config.evaluation.examples)
        examples = []
        for one in shown:
            record = self.held_out[int(found["index"][one.place])]
            examples.append(one.shown_with(self.shown(record), record.sentence))
        return {"examples": examples, "shares": shares}

    @abstractmethod
    def shown(self, record: Any) -> tuple[np.ndarray, ...]:
        """The record's images, for people."""
