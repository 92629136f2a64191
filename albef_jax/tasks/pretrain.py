"""Pre-training: binds data, objective and step, evaluation and report."""

from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config.file_patterns import split_list
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.examples import PairExamples
from albef_jax.data.records import PairSource
from albef_jax.evaluate.retrieval import describe, evaluate, protocol
from albef_jax.inference.gallery import read_gallery
from albef_jax.losses.masked_lm import SpecialTokens, capacity
from albef_jax.losses.pretraining import Recipe
from albef_jax.observability import flops
from albef_jax.report.retrieval_examples import collect
from albef_jax.tasks.base import Evaluation, Task
from albef_jax.train.memory import Memory, of_pretraining
from albef_jax.train.state import TrainState, init_state
from albef_jax.train.step import Step, StepConfig, compile_step


class Pretraining(Task):
    """ITC, MLM and ITM on pairs; evaluated by retrieval."""

    example = PairExamples

    def __init__(self, config: ConfigDict, workdir: Path, eval_only: bool = False):
        super().__init__(config, workdir, eval_only)
        train, tokens = config.train, self.tokenizer
        self.step_config = StepConfig(
            model=self.model,
            recipe=Recipe(
                train.contrast_group,
                train.mlm_probability,
                SpecialTokens(tokens.pad_id, tokens.cls_id, tokens.mask_id),
                split_list(train.losses),
            ),
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            alpha=self.alpha(),
            momentum=train.momentum,
            microbatches=train.microbatches,
        )
        slots = capacity(train.contrast_group * config.data.text_len, train.mlm_probability)
        pair = flops.PretrainingFlops(
            self.model,
            config.data.text_len,
            train.contrast_group,
            train.queue_size,
            slots / train.contrast_group,
        )
        self.step_flops = pair.fused() * self.batch_size

    def open_train(self) -> PairSource:
        """The training pairs."""
        return open_train_pairs(self.config)

    def open_eval(self) -> tuple[PairSource, str]:
        """The held-out pairs."""
        return open_eval_pairs(self.config)

    def init_state(self) -> TrainState:
        """A fresh state from `seed`."""
        return init_state(
            self.model,
            self.optimizer,
            self.config.train.queue_size,
            jax.random.key(self.config.seed),
        )

    def step(self, mesh: Mesh, abstract_state: TrainState) -> Step:
        """The compiled update."""
        return compile_step(self.step_config, mesh, abstract_state)

    def memory(self, mesh: Mesh, abstract_state: TrainState) -> Memory:
        """Estimated by tracing."""
        length = self.config.data.text_len
        return of_pretraining(self.step_config, mesh, abstract_state, self.batch_size, length)

    def describe_data(self) -> str:
        """One line on what is trained on."""
        dropped = getattr(self.source, "dropped_empty_captions", 0)
        note = f"; {dropped} empty captions left out" if dropped else ""
        return super().describe_data() + note

    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Retrieval on held-out pairs."""
        config = self.config
        gallery = read_gallery(
            self.held_out,
            self.tokenizer,
            self.eval_register(),
            image_size=config.model.image_size,
            pairs=config.evaluation.pairs,
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
        count = config.evaluation.examples
        examples = collect(
            self.model, state.params, state.teacher, self.tokenizer, gallery, found, count
        )
        counted = protocol(found.figures)
        results = self.results(state, protocol=counted, retrieval=found.figures)
        lines = [counted, *describe(found.figures)]
        return Evaluation(results, lines, "pretrain.html", {"examples": examples})
