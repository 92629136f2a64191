"""Retrieval: fine-tuning with ITC and ITM; evaluation by ITC, re-ranked by ITM."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.option_groups import (
    contrast_options,
    distillation_options,
    finetune_options,
    frozen_image_options,
    pair_options,
)
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.examples import PairExamples
from albef_jax.data.records import PairSource
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.evaluate.retrieval import SCORES, describe, evaluate, protocol, scores
from albef_jax.inference.gallery import read_gallery
from albef_jax.losses.base import Loss
from albef_jax.losses.retrieval import Inputs, RetrievalLoss
from albef_jax.report.retrieval_examples import collect
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import held_out_register
from albef_jax.train.state import TrainState


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    finetune_options(config, batch_size=256, epochs=5, lr=1e-5)
    pair_options(config)
    frozen_image_options(config)
    contrast_options(config)
    distillation_options(config)
    config.train.contrast_group = 32
    config.data.text_len = 48
    config.data.scenes.captions = 5
    config.evaluation.text_len = 30
    config.checkpoint.best = "itm_r_mean"
    config.evaluation.rerank = 256  # candidates that ITM re-ranks, per query


class Retrieval(Task):
    """Pairs with image ids; captions of one image are right answers to each other."""

    example = PairExamples
    inputs = Inputs._fields
    queue_holds = "features and image ids"

    def open_train(self) -> PairSource:
        """The training pairs."""
        return open_train_pairs(self.config)

    def open_eval(self) -> tuple[PairSource, str]:
        """The held-out pairs."""
        return open_eval_pairs(self.config)

    def loss(self) -> Loss:
        """ITC and ITM."""
        train = self.config.train
        return RetrievalLoss(self.trained_model, train.contrast_group, train.negatives)

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Recall both ways, by ITC alone and re-ranked by ITM."""
        config, options = self.config, self.config.evaluation
        with held_out_register(self) as register:
            gallery = read_gallery(
                self.held_out,
                Tokenizer(config.data.vocab, options.text_len),
                register,
                image_size=config.model.image_size,
                pairs=self.eval_size(),
                rows=options.batch_size,
                max_words=config.data.max_words,
                threads=config.data.threads,
            )
        found = evaluate(
            self.model, state.params, gallery, mesh, rows=options.batch_size, k=options.rerank
        )
        examples = collect(
            self.model, state.params, None, self.tokenizer, gallery, found, options.examples
        )
        counted = protocol(found.figures)
        results = self.results(state, protocol=counted, retrieval=found.figures)
        lines = [counted, *describe(found.figures)]
        context = {"examples": examples}
        told = scores(found.figures)
        return Evaluation(results, lines, "retrieval.html", context, told, found.queries)


TASK = TaskSpec(model="retrieval", options=options, run=Retrieval, scores=SCORES)
