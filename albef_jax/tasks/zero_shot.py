"""Image classification by prompts, without training: class names and templates."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.data_paths import data_path
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.annotations.labels import check_templates, read_lines
from albef_jax.data.build import open_labelled
from albef_jax.data.examples import LabelledExamples
from albef_jax.data.images.augment import EvalTransform
from albef_jax.errors import ConfigError, NothingToEvaluate
from albef_jax.evaluate.compositional import lines_of, of_unseen
from albef_jax.evaluate.top_k_accuracy import top_k
from albef_jax.inference.prompts import PromptClassifier
from albef_jax.losses.base import Loss
from albef_jax.report.task_examples import right_and_wrong
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import gather_arrays, held_out_register, local_batches
from albef_jax.train.state import TrainState

SHOWN = 5  # best classes of an example


def options(config: ConfigDict) -> None:
    """Class names and templates; there is nothing to train."""
    config.data.classes = ""  # a file with a name a line, or a JSON list; empty: the data's own
    config.data.templates = ""  # the same for templates; empty: data.template alone
    config.data.template = "a photo of a {}"
    config.evaluation.limit = 0  # images to evaluate on; 0 for all


@dataclass(frozen=True)
class Classified:
    """What an image was taken for.

    Attributes:
        place: of the record in its source.
        best: the most probable classes with their probabilities.
    """

    place: int
    label: str
    best: list[tuple[str, float]]
    right: bool


class ZeroShot(Task):
    """Images with a class each; a pre-training or retrieval checkpoint classifies them."""

    example = LabelledExamples

    def open_train(self) -> Any:
        """There is no training."""
        raise ConfigError("task zero_shot trains nothing; set init.checkpoint")

    def open_eval(self) -> tuple[Any, str]:
        """The images to classify."""
        return open_labelled(self.config)

    def loss(self) -> Loss:
        """There is no training."""
        raise ConfigError("task zero_shot trains nothing; set init.checkpoint")

    def templates(self) -> tuple[str, ...]:
        """Texts with a place for the class name.

        Raises:
            ConfigError: one has no such place.
        """
        data = self.config.data
        if not data.templates:
            check_templates([data.template], "data.template")
            return (data.template,)
        found = read_lines(data_path(self.config, data.templates), "data.templates")
        check_templates(found, "data.templates")
        return found

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Top-1 and top-5 accuracy, per class too."""
        try:
            templates = self.templates()
        except ValueError as error:
            raise ConfigError(error) from None
        classes = self.held_out.classes
        classifier = PromptClassifier(
            self.model,
            state.params,
            self.tokenizer,
            classes,
            templates,
            mesh,
            rows=self.config.evaluation.batch_size,
            max_words=self.config.data.max_words,
        )
        logits, labels, places = self._classify(classifier)
        figures = top_k(logits, labels, classes)

        def part(rows: list[int]) -> dict[str, float]:
            judged = top_k(logits[rows], labels[rows], classes)
            return {name: judged[name] for name in ("top1", "majority", "chance")}

        figures |= of_unseen(self.held_out, places.tolist(), part)
        figures["unreadable"] = self.eval_size() - figures["count"]
        figures["templates"] = list(templates)
        top = f", top-5 {figures['top5']:.2f} %" if "top5" in figures else ""
        lines = [
            f"top-1 {figures['top1']:.2f} %{top} of {figures['count']} images in "
            f"{figures['classes']} classes (chance {figures['chance']:.2f} %)",
            *lines_of(figures),
        ]
        results = self.results(state, zero_shot=figures)
        return Evaluation(results, lines, "zero_shot.html", self._examples(logits, labels, places))

    def _classify(self, classifier: PromptClassifier) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits `[N, C]`, labels and places of all images that could be read."""
        side = self.model.image_size
        blank = {"image": np.zeros((side, side, 3), np.uint8), "label": np.int32(0)}
        parts: dict[str, list] = {"logits": [], "label": [], "index": []}
        read = self.examples(self.held_out, EvalTransform(side))
        with held_out_register(self) as register:
            for batch in local_batches(self, read, blank, register):
                valid = batch["valid"]
                parts["logits"].append(classifier.logits(batch["image"])[valid])
                parts["label"].append(batch["label"][valid])
                parts["index"].append(batch["sample_index"][valid])
        found = gather_arrays({name: np.concatenate(of) for name, of in parts.items()})
        logits, labels, places = found.values()
        if not len(labels):
            raise NothingToEvaluate("no image to evaluate on could be read")
        return logits, labels, places

    def _examples(
        self, logits: np.ndarray, labels: np.ndarray, places: np.ndarray
    ) -> dict[str, Any]:
        """Right and wrong ones; records are read again for their images."""
        classes = self.held_out.classes
        shares = np.asarray(jax.nn.softmax(logits, axis=1))
        found = []
        for place, label, row in zip(places, labels, shares, strict=True):
            order = np.argsort(-row, kind="stable")[:SHOWN]
            best = [(classes[number], float(row[number])) for number in order]
            found.append(Classified(int(place), classes[label], best, bool(order[0] == label)))
        shown, text = right_and_wrong(found, self.config.evaluation.examples)
        examples = [{"image": self.held_out[one.place].image, "found": one} for one in shown]
        return {"examples": examples, "shares": text}


TASK = TaskSpec(
    model="retrieval",
    options=options,
    run=ZeroShot,
    sources=("json", "folder", "scenes"),
    trains=False,
)
