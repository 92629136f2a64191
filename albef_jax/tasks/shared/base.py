"""What all tasks have in common: schedules, optimizer, data order, and the start of a run."""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from albef_jax.checkpoints.init_from.report import format_table
from albef_jax.config import evaluation, parts, text_buckets
from albef_jax.config.defaults import model_config
from albef_jax.config.tasks import task_spec
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches, steps_per_epoch
from albef_jax.data.build import train_transform
from albef_jax.data.examples import Examples, PairExamples
from albef_jax.data.grouping import Grouping
from albef_jax.data.held_out import with_shared_images
from albef_jax.data.image_tokens import TokenExamples
from albef_jax.data.images.augment import Transform
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.distributed.mesh import fetch
from albef_jax.distributed.sync import (
    broadcast_from_main,
    print_on_main,
    raise_on_all_processes,
)
from albef_jax.errors import ConfigError
from albef_jax.losses.base import Loss
from albef_jax.losses.queue import init_queue
from albef_jax.models import albef, task_models
from albef_jax.models.attention import available
from albef_jax.models.config import ModelConfig
from albef_jax.models.frozen import Frozen
from albef_jax.tasks.shared import optimization
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.image_tokens import Views, token_examples
from albef_jax.tasks.shared.start import start_from, start_from_encoders
from albef_jax.tasks.shared.text_buckets import in_buckets
from albef_jax.train import schedules, xla_flags
from albef_jax.train.memory import Memory, estimate
from albef_jax.train.state import TrainState, state_from_params
from albef_jax.train.step import Step, StepConfig, compile_step

QueueContent = Literal["", "features", "features and image ids"]


class Task(ABC):
    """A task as the loop sees it (`train.loop.Trainable`).

    Args:
        config: validated.
        workdir: where bad samples are written.
        eval_only: nothing will be trained, and no training data are opened.

    Raises:
        ConfigError: the data and the configuration do not fit each other.
    """

    # Arrays of a batch that the loss is given.
    inputs: tuple[str, ...] = ("image", "text_ids", "text_mask")
    example: type[Examples]  # what is made of a record
    items = "images"  # what an epoch is counted in
    queue_holds: QueueContent = ""  # what the teacher's queue keeps; empty: there is none

    def __init__(self, config: ConfigDict, workdir: Path, eval_only: bool = False):
        self.config = config
        self.model = for_devices(model_config(config))
        self.batch_size = config.train.batch_size
        self.threads = config.data.threads * max(1, config.data.workers)
        self.tokenizer = Tokenizer(config.data.vocab, config.data.text_len)
        self.transform = train_transform(config)
        self.held_out, self.evaluated_on = self.open_eval()  # now: its errors come before training
        self.source = self.held_out if eval_only else self.open_train()
        if not eval_only:
            self.evaluated_on = with_shared_images(self.evaluated_on, self.source, self.held_out)
        self.evaluated_on += evaluation.remark(config)
        self._check_vocabulary()
        if not eval_only:
            self._check_size()
        self.steps_per_epoch = steps_per_epoch(len(self.source), self.batch_size)
        self.total_steps = config.train.steps or config.train.epochs * self.steps_per_epoch
        if not eval_only:
            optimization.check_schedule(config, self.steps_per_epoch, self.total_steps)
        self.workdir = workdir
        self.bad_samples = BadSamples(
            workdir / "bad_samples.jsonl",
            config.data.max_bad_share,
            len(self.source),
            process=jax.process_index(),
        )
        self._tokens: TokenExamples | None = None
        self.learning_rate = optimization.learning_rate(
            config, self.steps_per_epoch, self.total_steps
        )
        self.optimizer = optimization.optimizer(
            config, self.learning_rate, self.frozen, self.without_gradient
        )

    # Modules that the task's loss uses, but gives no gradient.
    without_gradient: tuple[str, ...] = ()

    @property
    def frozen(self) -> Frozen:
        """What is not trained."""
        return Frozen.of(parts.frozen_parts(self.config.train.frozen))

    @property
    def trained_model(self) -> ModelConfig:
        """The model as the loss calls it."""
        return self.frozen.model(self.model)

    @abstractmethod
    def open_train(self) -> Any:
        """The training records: random access."""

    @abstractmethod
    def open_eval(self) -> tuple[Any, str]:
        """The held-out records and a description of them."""

    @abstractmethod
    def loss(self) -> Loss:
        """What the train step minimises."""

    @abstractmethod
    def evaluate(self, state: TrainState, mesh: Mesh) -> Evaluation:
        """Figures and examples on held-out data."""

    def examples(self, source: Any, transform: Transform) -> Examples:
        """What makes examples of a source's records."""
        return self.example(source, transform, self.tokenizer, self.config.data.max_words)

    def _check_vocabulary(self) -> None:
        if self.tokenizer.vocab_size > self.model.vocab_size:
            raise ConfigError(
                f"model.vocab_size={self.model.vocab_size} is smaller than the vocabulary "
                f"{self.config.data.vocab} of {self.tokenizer.vocab_size}; set the first to that"
            )

    def _check_size(self) -> None:
        if len(self.source) < self.batch_size:
            raise ConfigError(
                f"train.batch_size={self.batch_size} exceeds the {len(self.source)} training "
                f"{self.items}; lower it"
            )

    def alpha(self) -> schedules.Schedule:
        """The distillation weight by step."""
        train = self.config.train
        return schedules.alpha_ramp(
            alpha=train.alpha, ramp_steps=round(train.alpha_ramp_epochs * self.steps_per_epoch)
        )

    @property
    def distilled(self) -> bool:
        """Whether the teacher's soft targets are part of the loss."""
        train = self.config.train
        return "alpha" in train and train.get("distill", True)

    def init_state(self) -> TrainState:
        """A fresh state from `seed`; runs inside jit."""
        config, model = self.config, self.model
        params_key, queue_key, root = jax.random.split(jax.random.key(config.seed), 3)
        params = task_models.init(model, task_spec(config.task).model, params_key)
        queue = None
        if self.queue_holds:
            with_ids = self.queue_holds == "features and image ids"
            queue = init_queue(queue_key, config.train.queue_size, model.embed_dim, with_ids)
        frozen = self.frozen
        teacher = {}
        if queue is not None or self.distilled:
            teacher = albef.teacher_params(frozen.trained(params))
        return state_from_params(params, self.optimizer, queue, root, teacher, frozen)

    def step_config(self) -> StepConfig:
        """What a train step of this task needs to know."""
        no_distillation = schedules.alpha_ramp(alpha=0.0, ramp_steps=0)
        return StepConfig(
            loss=self.loss(),
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            alpha=self.alpha() if self.distilled else no_distillation,
            momentum=self.config.train.get("momentum", 1.0),
            microbatches=self.config.train.microbatches,
            frozen=self.frozen,
        )

    def step(self, mesh: Mesh, abstract_state: TrainState) -> Step:
        """The compiled update."""
        chosen: xla_flags.Flags = {}
        if self.config.train.xla_flags == "fast":
            platform = mesh.devices.flat[0].platform
            # As process 0 is started: all must compile the same program.
            chosen = broadcast_from_main(xla_flags.flags(platform, mesh.size, os.environ))
        if chosen:
            print_on_main(xla_flags.told(chosen))
        return compile_step(self.step_config(), mesh, abstract_state, chosen)

    def start(self, shardings: TrainState) -> TrainState:
        """The state at step 0, on its devices: fresh, or from what `init` names."""
        state = jax.jit(self.init_state, out_shardings=shardings)()
        init = self.config.init
        if not (init.checkpoint or init.text or init.vision):
            return state
        begin = start_from if init.checkpoint else start_from_encoders
        fresh = fetch(state)
        fresh = fresh.replace(teacher=self.frozen.whole_teacher(fresh.teacher, fresh.params))
        with raise_on_all_processes(ValueError):
            state, rows = begin(self.config, fresh)
        state = state.replace(teacher=self.frozen.trained(state.teacher))
        names = filter(None, (init.checkpoint, init.text, init.vision))
        print_on_main(f"starting from {' and '.join(names)}:", format_table(rows))
        return jax.device_put(state, shardings)

    def prepare(self, state: TrainState, mesh: Mesh) -> None:
        """Make what must be there before the first batch.

        Raises:
            ConfigError: image tokens cannot be kept.
        """
        if not self.cached_views:
            return
        examples = self.examples(self.source, self.transform)
        self._tokens = token_examples(
            Views(cast(PairExamples, examples), self.cached_views, self.config.seed),
            self.model,
            state.params,
            mesh,
            self.workdir,
            self.bad_samples,
            rows=self.config.evaluation.batch_size,
            threads=self.config.data.threads,
        )

    @property
    def cached_views(self) -> int:
        """Of how many views of an image tokens are kept, for batches to have in place of images."""
        return self.config.train.get("cached_views", 0)

    @property
    def step_inputs(self) -> tuple[str, ...]:
        """Arrays of a batch that go to the devices."""
        kept = {"image": "image_tokens"} if self.cached_views else {}
        return tuple(kept.get(name, name) for name in self.inputs)

    def batches(self, start_step: int, mesh: Mesh) -> Generator[dict[str, np.ndarray]]:
        """This host's batches from a step on."""
        data, source = self.config.data, self.source
        mixed, examples = isinstance(source, MixedPairs), self.examples(source, self.transform)
        widths = text_buckets.widths(data.text_buckets)
        grouped = widths and data.bucket_order == "grouped"
        batches = shuffled_batches(
            self._tokens or examples,
            len(source),
            batch_size=self.batch_size,
            seed=self.config.seed,
            bad_samples=self.bad_samples,
            start_step=start_step,
            num_steps=self.total_steps - start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=data.threads,
            workers=data.workers,
            order=source.order(self.batch_size, self.config.seed) if mixed else None,
            grouping=Grouping(examples.length, widths) if grouped else None,
        )
        return in_buckets(batches, widths, mesh) if widths else batches

    def step_flops(self, text_len: int) -> float | None:
        """Floating-point operations of a step on texts of a width; None if they are not counted."""
        return None

    def sizes(self) -> dict[str, Any]:
        """What the data decide and all processes must have alike, by its name."""
        return {
            "number of training records": len(self.source),
            "number of evaluation records": len(self.held_out),
        }

    def row_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """One row of each array of a batch that a task may have."""
        side, length = self.model.image_size, self.config.data.text_len

        def row(*shape: int, dtype: Any = np.int32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype)

        return {
            "image": row(side, side, 3, dtype=np.uint8),
            "image_tokens": row(self.model.image_tokens, self.model.image_width, dtype=np.float32),
            "text_ids": row(length),
            "text_mask": row(length),
            "image_id": row(),
            "label": row(),
        }

    def memory(self, mesh: Mesh | AbstractMesh, abstract_state: TrainState) -> Memory:
        """What a step takes on each device, estimated by tracing."""
        rows = self.row_shapes()
        batch = {
            name: jax.ShapeDtypeStruct((self.batch_size, *rows[name].shape), rows[name].dtype)
            for name in self.step_inputs
        }
        return estimate(self.step_config(), mesh, abstract_state, batch)

    def describe_data(self) -> str:
        """One line on what is trained on."""
        mixed = isinstance(self.source, MixedPairs)
        kind = "mixture" if mixed else self.config.data.source
        line = f"{kind}, {len(self.source)} {self.items} an epoch"
        return "; ".join([line, *getattr(self.source, "notes", ())])

    def describe_evaluation(self) -> str:
        """One line on what is evaluated on."""
        return "; ".join([self.evaluated_on, *getattr(self.held_out, "notes", ())])

    def counters(self) -> dict[str, float]:
        """Bad samples so far, of all processes."""
        self.bad_samples.merge()
        return {"bad_samples": self.bad_samples.count}

    def eval_size(self) -> int:
        """How many held-out records to evaluate on."""
        return min(self.config.evaluation.limit or len(self.held_out), len(self.held_out))

    def results(self, state: TrainState, **figures: Any) -> dict[str, Any]:
        """What every `results.json` starts with, and the task's figures."""
        return {
            "task": self.config.task,
            "preset": self.config.preset,
            "step": int(state.step),
            "evaluated_on": self.evaluated_on,
            **figures,
        }


def for_devices(model: ModelConfig) -> ModelConfig:
    """The model as the devices that are here can run it.

    A run with cuDNN's attention can be evaluated where there is no NVIDIA card.
    """
    attention = available(model.attention)
    if attention != model.attention:
        print_on_main(
            f"model.attention={model.attention} needs an NVIDIA card; here it is {attention}"
        )
    return replace(model, attention=attention)
