"""A training step of question answering: a row of the decoder for each answer that there may be,
against rows for those that there are (`losses.answer_rows`).

The real annotations are not here. `annotators` makes up how many different answers a question has;
questions of the built-in world have one.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from albef_jax.distributed.mesh import make_mesh
from albef_jax.losses.answer_rows import rows_of_a_pass
from albef_jax.losses.vqa import VqaLoss
from albef_jax.models import task_models
from albef_jax.models.albef import teacher_params
from albef_jax.models.config import ModelConfig
from albef_jax.train.memory import estimate
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, state_from_params
from albef_jax.train.step import Batch, StepConfig, train_step
from benchmarks.by_turns import by_turns, compiled
from benchmarks.operations import products

MOST = 10  # answers of a question: annotators of VQA
MANY = 100_000  # questions to draw statistics from


def annotators(different: float, questions: int, rng: np.random.Generator) -> np.ndarray:
    """How many different answers ten annotators give to each question, int `[N]`.

    The one who comes after i others says something new with probability c / (c + i) (Ewens'
    sampling formula); c is such that so many answers are different on average.
    """
    before = np.arange(MOST)

    def mean(c: float) -> float:
        return float(np.sum(c / (c + before)))

    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if mean(middle) < different else (low, middle)
    return np.sum(rng.random((questions, MOST)) < low / (low + before), axis=1)


class Data(NamedTuple):
    """Questions of a kind.

    Attributes:
        counts: different answers of each of `MANY` questions.
        padded: answers that the plain way reads a question.
    """

    counts: np.ndarray
    padded: int = MOST

    def loss(self, model: ModelConfig, questions: int) -> VqaLoss:
        """As `tasks.vqa` chooses it for a batch on one device."""
        counts, most = self.counts, int(self.counts.max())
        rows = rows_of_a_pass(float(counts.mean()), float(counts.std()), most, questions)
        return VqaLoss(model, rows if rows < questions * most else None, questions)

    def passes(self, rows: int, questions: int) -> np.ndarray:
        """That each of some batches takes."""
        whole = len(self.counts) // questions * questions
        answers = self.counts[:whole].reshape(-1, questions).sum(axis=1)
        return -(-answers // rows)


def step_of(loss: VqaLoss) -> StepConfig:
    """A step with distillation."""
    rate = 2e-5
    return StepConfig(
        loss=loss,
        optimizer=adamw(lambda step: jnp.float32(rate), 0.02),
        learning_rate=lambda step: jnp.float32(rate),
        alpha=lambda step: jnp.float32(0.4),
    )


def start_of(model: ModelConfig, optimizer: optax.GradientTransformation) -> TrainState:
    """A fresh state; for tracing, or inside jit."""
    params = task_models.init(model, "vqa", jax.random.key(0))
    key = jax.random.key(1, impl="rbg")
    return state_from_params(params, optimizer, None, key, teacher_params(params))


def batch_of(model: ModelConfig, counts: np.ndarray, answers: int, shape: tuple[int, int]) -> Batch:
    """Noise for images and words, each answer with a weight.

    Args:
        counts: of each question's answers.
        answers: padded number.
        shape: tokens of a question, and of an answer.
    """
    rng, size = np.random.default_rng(0), len(counts)
    words = partial(rng.integers, 1000, model.vocab_size, dtype=np.int32)
    there = np.arange(answers) < counts[:, None]
    side, (question, answer) = model.image_size, shape
    return {
        "image": rng.integers(0, 256, (size, side, side, 3), np.uint8),
        "text_ids": words((size, question)),
        "text_mask": np.ones((size, question), np.int32),
        "answer_ids": words((size, answers, answer)),
        "answer_mask": np.ones((size, answers, answer), np.int32),
        "answer_weight": (there / counts[:, None]).astype(np.float32),
    }


def compare(
    model: ModelConfig, data: Data, questions: int, shape: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Both ways: operations and what is kept for the backward pass, counted; and by turns the
    fastest of the rounds, and XLA's memory.

    The batch takes one pass, as nearly all do; `passes` is the mean over many batches.

    Args:
        rounds: 0 only counts.
    """
    packed = data.loss(model, questions)
    counts = np.sort(data.counts)[:: len(data.counts) // questions][:questions]  # typical ones
    most = int(data.counts.max())
    ways = {"plain": (VqaLoss(model, None, questions), data.padded), "packed": (packed, most)}
    told: dict[str, Any] = {"questions": questions, "answers": round(float(data.counts.mean()), 2)}
    rows = packed.rows or questions * most
    passes = data.passes(rows, questions)
    told |= {"plain_rows": questions * data.padded, "packed_rows": rows}
    told |= {"passes": round(float(passes.mean()), 4)}
    operations, kept, programs, memory = {}, {}, {}, {}
    alone = make_mesh(devices=jax.devices()[:1])
    for name, (loss, answers) in ways.items():
        config = step_of(loss)
        start = partial(start_of, model, config.optimizer)
        batch = batch_of(model, counts, answers, shape)
        step = partial(train_step, config)
        abstract = jax.eval_shape(start)
        operations[name] = products(step, abstract, batch)
        kept[name] = estimate(
            config, alone, abstract, jax.eval_shape(lambda batch=batch: batch)
        ).kept
        if rounds:
            inputs = jax.device_put((jax.jit(start)(), batch))
            program, memory[name] = compiled(step, *inputs)
            programs[name] = partial(program, *inputs)
    told |= {f"{name}_tera": round(count / 1e12, 4) for name, count in operations.items()}
    told |= {f"{name}_kept_gib": round(size / 2**30, 3) for name, size in kept.items()}
    told["fewer_operations"] = round(operations["plain"] / operations["packed"], 3)
    if rounds:
        seconds, _ = by_turns(programs, rounds)
        told |= {f"{name}_s": round(took, 4) for name, took in seconds.items()}
        told["speedup"] = round(seconds["plain"] / seconds["packed"], 3)
        told |= {f"{name}_gib": round(size, 3) for name, size in memory.items()}
    return told
