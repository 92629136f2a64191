"""Pre-training: ITC, MLM and ITM on pairs; evaluated by retrieval."""

from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.file_patterns import split_list
from albef_jax.config.option_groups import contrast_options, frozen_image_options, pair_options
from albef_jax.config.tasks import TaskSpec
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.examples import PairExamples
from albef_jax.data.records import PairSource
from albef_jax.evaluate.retrieval import SCORES, describe, evaluate, protocol, scores
from albef_jax.inference.gallery import read_gallery
from albef_jax.losses.masked_lm import SpecialTokens, capacity
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.observability import flops
from albef_jax.report.retrieval_examples import collect
from albef_jax.tasks.shared.base import QueueContent, Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.held_out import held_out_register
from albef_jax.train.state import TrainState


def options(config: ConfigDict) -> None:
    """The official recipe's values, and what only this task has."""
    contrast_options(config)
    pair_options(config)
    frozen_image_options(config)
    config.train.update({"alpha_ramp_epochs": 1.0, "mlm_probability": 0.15})
    config.train.losses = "itc,mlm,itm"  # leave one out to see what it does
    config.train.same_image_positives = False  # captions of one image: no negatives
    config.train.distilled = "itc,mlm"  # losses with the teacher's soft targets; "" for none
    config.data.scenes.update({"noise": 0.0, "captions": 5})
    config.evaluation.limit = 1000  # held-out images to retrieve among; 0 for all
    config.evaluation.rerank = 32  # candidates that ITM re-ranks, per query


class Pretraining(Task):
    """ITC, MLM and ITM on pairs; evaluated by retrieval."""

    example = PairExamples
    queue_holds: QueueContent = "features"

    def __init__(self, config: ConfigDict, workdir: Path, eval_only: bool = False):
        train = config.train
        if train.same_image_positives:
            self.inputs = (*self.inputs, "image_id")
            self.queue_holds = "features and image ids"
        super().__init__(config, workdir, eval_only)

    def step_flops(self, text_len: int) -> float:
        """Floating-point operations of a step on texts of a width."""
        train = self.config.train
        slots = capacity(train.contrast_group * text_len, train.mlm_probability)
        pair = flops.PretrainingFlops(
            self.trained_model,
            text_len,
            train.contrast_group,
            train.queue_size,
            slots / train.contrast_group,
            self._image_encoder(),
        )
        return pair.fused() * self.batch_size

    def _image_encoder(self) -> flops.ImageEncoderState:
        if self.cached_views:
            return "cached"
        return "frozen" if "image_encoder" in self.frozen.modules else "trained"

    def open_train(self) -> PairSource:
        """The training pairs."""
        return open_train_pairs(self.config)

    def open_eval(self) -> tuple[PairSource, str]:
        """The held-out pairs."""
        return open_eval_pairs(self.config)

    def loss(self) -> PretrainingLoss:
        """ITC, MLM and ITM, as far as `train.losses` names them."""
        train, tokens = self.config.train, self.tokenizer
        recipe = Recipe(
            train.contrast_group,
            train.mlm_probability,
            SpecialTokens(tokens.pad_id, tokens.cls_id, tokens.mask_id),
            split_list(train.losses),
            train.negatives,
            split_list(train.distilled),
            train.same_image_positives,
        )
        return PretrainingLoss(self.trained_model, recipe, self.config.data.text_len)

    def describe_data(self) -> str:
        """One line on what is trained on."""
        dropped = getattr(self.source, "dropped_empty_captions", 0)
        note = f"; {dropped} empty captions left out" if dropped else ""
        return super().describe_data() + note

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Retrieval on held-out pairs."""
        config = self.config
        with held_out_register(self) as register:
            gallery = read_gallery(
                self.held_out,
                self.tokenizer,
                register,
                image_size=config.model.image_size,
                pairs=self.eval_size(),
                rows=config.evaluation.batch_size,
                max_words=config.data.max_words,
                threads=config.data.threads,
            )
        found = evaluate(
            self.model,
            state.params,
            gallery,
            mesh,
            rows=config.evaluation.batch_size,
            k=config.evaluation.rerank,
        )
        count, teacher = (
            config.evaluation.examples,
            self.frozen.whole_teacher(state.teacher, state.params),
        )
        examples = collect(self.model, state.params, teacher, self.tokenizer, gallery, found, count)
        counted = protocol(found.figures)
        results = self.results(state, protocol=counted, retrieval=found.figures)
        lines = [counted, *describe(found.figures)]
        context = {"examples": examples}
        told = scores(found.figures)
        return Evaluation(results, lines, "pretrain.html", context, told, found.queries)


TASK = TaskSpec(model="pretrain", options=options, run=Pretraining, scores=SCORES)
