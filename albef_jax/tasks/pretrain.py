"""Pre-training: binds data, objective and step, evaluation and report."""

from collections.abc import Generator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config import ConfigError, model_config
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.open import open_eval, open_train, train_transform
from albef_jax.data.pipeline import steps_per_epoch, train_batches
from albef_jax.data.text import Tokenizer
from albef_jax.evaluate.examples import Examples, collect
from albef_jax.evaluate.gallery import read_gallery
from albef_jax.evaluate.retrieval import evaluate
from albef_jax.objectives.masking import SpecialTokens
from albef_jax.objectives.pretraining import Recipe
from albef_jax.train import schedules
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, init_state
from albef_jax.train.step import Step, StepConfig, compile_step


class Pretraining:
    """The task as the loop sees it.

    Args:
        config: validated.
        workdir: where bad samples are written.

    Raises:
        ConfigError: the data and the configuration do not fit each other.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config = config
        self.model = model_config(config)
        self.batch_size = config.train.batch_size
        self.tokenizer = Tokenizer(config.data.vocab, config.data.text_len)
        self.source = open_train(config)
        self._check_data()
        self.steps_per_epoch = steps_per_epoch(len(self.source), self.batch_size)
        self.total_steps = config.train.steps or config.train.epochs * self.steps_per_epoch
        self._check_schedule()
        self.workdir = workdir
        self.bad_samples = BadSamples(
            workdir / "bad_samples.jsonl", config.data.max_bad_share, len(self.source)
        )
        self.step_config = self._step_config()

    def _check_data(self) -> None:
        if self.tokenizer.vocab_size > self.model.vocab_size:
            raise ConfigError(
                f"model.vocab_size={self.model.vocab_size} is smaller than the vocabulary "
                f"{self.config.data.vocab} of {self.tokenizer.vocab_size}; set the first to that"
            )
        if len(self.source) < self.batch_size:
            raise ConfigError(
                f"train.batch_size={self.batch_size} exceeds the {len(self.source)} training "
                "pictures; lower it"
            )

    def _check_schedule(self) -> None:
        last = self.config.train.epochs * self.steps_per_epoch
        if self.config.optimizer.schedule == "published" and self.total_steps > last:
            raise ConfigError(
                f"train.steps={self.total_steps} goes beyond the {last} steps of "
                f"train.epochs={self.config.train.epochs}, where the published schedule ends; "
                "raise train.epochs, or set optimizer.schedule=cosine"
            )

    def _step_config(self) -> StepConfig:
        train, tokens = self.config.train, self.tokenizer
        learning_rate = self._learning_rate()
        return StepConfig(
            model=self.model,
            recipe=Recipe(
                train.contrast_group,
                train.mlm_probability,
                SpecialTokens(tokens.pad_id, tokens.cls_id, tokens.mask_id),
            ),
            optimizer=adamw(learning_rate, self.config.optimizer.weight_decay),
            learning_rate=learning_rate,
            alpha=schedules.alpha_ramp(
                alpha=train.alpha,
                ramp_steps=round(train.alpha_ramp_epochs * self.steps_per_epoch),
            ),
            momentum=train.momentum,
        )

    def _learning_rate(self) -> schedules.Schedule:
        optimizer = self.config.optimizer
        ends = {"peak": optimizer.lr, "minimum": optimizer.min_lr}
        if optimizer.schedule == "cosine":
            return schedules.cosine_lr(
                **ends, warmup_steps=optimizer.warmup_steps, total_steps=self.total_steps
            )
        return schedules.published_lr(
            **ends,
            warmup=optimizer.warmup_lr,
            warmup_periods=optimizer.warmup_periods,
            epochs=self.config.train.epochs,
            steps_per_epoch=self.steps_per_epoch,
        )

    def init_state(self) -> TrainState:
        """A fresh state from `seed`."""
        return init_state(
            self.model,
            self.step_config.optimizer,
            self.config.train.queue_size,
            jax.random.key(self.config.seed),
        )

    def step(self, mesh: Mesh, abstract_state: TrainState) -> Step:
        """The compiled update."""
        return compile_step(self.step_config, mesh, abstract_state)

    def batches(self, start_step: int) -> Generator[dict[str, np.ndarray]]:
        """This host's batches from a step on."""
        data = self.config.data
        return train_batches(
            self.source,
            train_transform(self.config),
            self.tokenizer,
            max_words=data.max_words,
            batch_size=self.batch_size,
            seed=self.config.seed,
            bad_samples=self.bad_samples,
            start_step=start_step,
            num_steps=self.total_steps - start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=data.threads,
            prefetch=data.prefetch,
        )

    def describe_data(self) -> str:
        """One line on what is trained on."""
        dropped = getattr(self.source, "dropped_empty_captions", 0)
        note = f"; {dropped} empty captions left out" if dropped else ""
        return f"{self.config.data.source}, {len(self.source)} pictures an epoch{note}"

    def evaluate(self, state: TrainState, mesh: Mesh) -> tuple[dict, Examples]:
        """Retrieval on held-out pairs: what goes into `results.json`, and examples to look at."""
        config = self.config
        source, what = open_eval(config)
        rows = config.evaluation.batch_size
        register = BadSamples(
            self.workdir / "bad_eval_samples.jsonl", config.data.max_bad_share, len(source)
        )
        gallery = read_gallery(
            source,
            self.tokenizer,
            register,
            image_size=config.model.image_size,
            pairs=config.evaluation.pairs,
            rows=rows,
            max_words=config.data.max_words,
            threads=config.data.threads,
        )
        k = config.evaluation.rerank
        retrieval = evaluate(self.model, state.params, gallery, mesh, rows=rows, k=k)
        count = config.evaluation.examples
        examples = collect(self.model, state.teacher, self.tokenizer, gallery, retrieval, count)
        results = {
            "task": "pretrain",
            "preset": config.preset,
            "step": int(state.step),
            "evaluated_on": what,
            "retrieval": retrieval.figures,
        }
        return results, examples

    def counters(self) -> dict[str, float]:
        """Bad samples so far."""
        return {"bad_samples": self.bad_samples.count}
