"""Text assignment: the pre-training step that prepares the model for two images (NLVR2)."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.option_groups import pair_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.examples import PairExamples
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.records import PairSource
from albef_jax.distributed.mesh import fetch, to_devices
from albef_jax.errors import NothingToEvaluate
from albef_jax.evaluate.accuracy import judge
from albef_jax.losses import text_assignment
from albef_jax.losses.base import Loss
from albef_jax.losses.text_assignment import TextAssignmentLoss
from albef_jax.models.primitives import normalize
from albef_jax.report.task_examples import right_and_wrong
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import held_out_register
from albef_jax.tasks.shared.judged_sentences import read_verdicts
from albef_jax.train.state import TrainState


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    pair_options(config)
    config.data.update({"max_words": 30})
    config.train.update({"batch_size": 512, "epochs": 1, "contrast_group": 64})
    config.optimizer.update({"lr": 2e-5, "min_lr": 1e-5, "warmup_periods": 1})
    config.data.scenes.update({"captions": 5})
    config.evaluation.limit = 1000


CLASSES = ("first", "second", "neither")


class TextAssignment(Task):
    """Pairs; the two images of a text are drawn inside the step."""

    example = PairExamples
    # Used for the similarities that negatives are drawn by, without a gradient (LEDGER).
    without_gradient = ("image_proj", "text_proj", "temperature")

    def open_train(self) -> PairSource:
        """The training pairs."""
        return open_train_pairs(self.config)

    def open_eval(self) -> tuple[PairSource, str]:
        """The held-out pairs."""
        return open_eval_pairs(self.config)

    def loss(self) -> Loss:
        """Cross-entropy over first, second and neither."""
        return TextAssignmentLoss(self.trained_model, self.config.train.contrast_group)

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Accuracy on held-out pairs, with images drawn as in training, from a fixed seed."""
        source, group, rows = self.held_out, self.config.train.contrast_group, self.batch_size
        if self.eval_size() < rows:
            raise NothingToEvaluate(
                f"{self.evaluated_on}: fewer than train.batch_size={rows}; raise evaluation.limit"
            )

        @jax.jit
        def run(params, batch, key):
            image = normalize(batch["image"])
            draws = text_assignment.draw(key, len(image) // group, group)
            forward = partial(text_assignment.forward, self.model, group, params, image)
            logits, shown, _ = forward(batch["text_ids"], batch["text_mask"], draws, None)
            return logits, shown

        logits, labels, context = [], [], {}
        with held_out_register(self) as register:
            batches = shuffled_batches(
                self.examples(source, EvalTransform(self.model.image_size)),
                len(source),
                batch_size=rows,
                seed=0,
                bad_samples=register,
                num_steps=self.eval_size() // rows,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                threads=self.config.data.threads,
            )
            for number, batch in enumerate(batches):
                arrays = {name: batch[name] for name in self.inputs}
                out, shown = fetch(
                    run(state.params, to_devices(mesh, arrays), jax.random.key(number))
                )
                logits.append(out)
                labels.append(shown.label.reshape(-1))
                if number == 0:
                    context = self._examples(batch, out, shown)
        figures = judge(np.concatenate(logits), np.concatenate(labels), CLASSES)
        results = self.results(state, judgement=figures)
        line = (
            f"accuracy {figures['accuracy']:.2f} % of {figures['count']} assignments (chance "
            f"{figures['chance']:.2f} %)"
        )
        scores = {"accuracy": figures["accuracy"]}
        return Evaluation(results, [line], "judgements.html", context, scores)

    def _examples(self, batch: dict, logits: np.ndarray, shown: Any) -> dict[str, Any]:
        """Right and wrong ones of a batch, of the groups that this process has read."""
        size = self.config.train.contrast_group
        own = len(batch["image"]) // size
        first_group = jax.process_index() * own
        shown = jax.tree.map(lambda leaf: leaf[first_group : first_group + own], shown)
        logits = logits[first_group * size : (first_group + own) * size]
        verdicts = read_verdicts(logits, shown.label.reshape(-1), CLASSES)
        chosen, shares = right_and_wrong(verdicts, self.config.evaluation.examples)
        starts = np.arange(len(logits)) // size * size  # of each text's group
        first, second = (starts + places.reshape(-1) for places in shown[:2])
        image, text_ids = batch["image"], batch["text_ids"]
        examples = [
            one.shown_with(
                (image[first[one.place]], image[second[one.place]]),
                self.tokenizer.decode(text_ids[one.place]),
            )
            for one in chosen
        ]
        return {"examples": examples, "shares": shares}


TASK = TaskSpec(model="nlvr_pretrain", options=options, run=TextAssignment, scores=("accuracy",))
