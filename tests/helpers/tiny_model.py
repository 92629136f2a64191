"""Very small models, a batch and a vocabulary for them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.model import Model
from albef_jax.losses.queue import EMPTY, Queue
from albef_jax.models import albef, task_models
from albef_jax.models.config import ModelConfig
from albef_jax.train.state import TrainState

FRESH = task_models.init  # the real one, where `drawn_weights` has replaced it
# 120 pieces with BERT's special tokens where the official vocabulary has them.
WORDS = ["red", "green", "blue", "circle", "square", "triangle", "left", "right", "of", "a", "##s"]
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
SERVED = {
    "image_size": 32,
    "patch_size": 16,
    "image_width": 16,
    "image_depth": 1,
    "image_heads": 2,
    "text_width": 16,
    "text_heads": 2,
    "text_intermediate": 32,
    "text_depth": 1,
    "fusion_depth": 1,
    "vocab_size": 460,
    "max_positions": 48,
    "embed_dim": 8,
}


class Tiny(NamedTuple):
    """A model that compiles in a second; the two widths differ, so that mixing them up fails."""

    config: ModelConfig
    params: albef.Params


class Batch(NamedTuple):
    """Eight pairs with captions of different lengths, `[CLS]` first, padded to 6 tokens."""

    image: np.ndarray  # uint8 [8, 16, 16, 3]
    text_ids: np.ndarray  # int32 [8, 6]
    text_mask: np.ndarray  # int32 [8, 6]


def random_params(config: ModelConfig, seed: int, model: str = "pretrain") -> albef.Params:
    """Parameters with noise on biases and norms too; compiles nothing."""
    drawn = drawn_like(partial(FRESH, config, model), seed)
    if "temperature" in drawn:
        drawn["temperature"] = jax.numpy.asarray(np.float32(config.temperature))
    return drawn


def drawn_like(init: Callable[[jax.Array], albef.Params], seed: int) -> albef.Params:
    """The same for what `init` makes of a key: compiling it takes longer than most tests."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = rng.standard_normal(leaf.shape, np.float32)
        kind = path[-1].key
        if kind in ("bias", "scale"):
            return np.float32(kind == "scale") + 0.05 * noise
        return 0.1 * noise

    abstract = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(jax.numpy.asarray, jax.tree.map_with_path(draw, abstract))


def state_of(
    params: albef.Params,
    optimizer: optax.GradientTransformation,
    queue_length: int = 0,
    with_ids: bool = False,
) -> TrainState:
    """As `state_from_params` begins, in numpy arrays of its own: compiles nothing."""
    rng, params = np.random.default_rng(5), jax.tree.map(np.array, params)
    teacher, queue = albef.teacher_params(params), None
    if queue_length:
        features = rng.standard_normal((2, queue_length, params["image_proj"]["bias"].size))
        image, text = features / np.linalg.norm(features, axis=-1, keepdims=True)
        ids = np.full(queue_length, EMPTY, np.int32) if with_ids else None
        queue = Queue(np.float32(image), np.float32(text), np.int32(0), ids)
    moments = jax.eval_shape(optimizer.init, params)
    moments = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
    return TrainState(np.int32(0), params, teacher, moments, queue, jax.random.key(2))


def tiny_model() -> Tiny:
    config = ModelConfig(
        image_size=16,
        patch_size=8,
        image_width=32,
        image_depth=2,
        image_heads=2,
        text_width=24,
        text_heads=2,
        text_intermediate=48,
        text_depth=2,
        fusion_depth=2,
        vocab_size=120,
        max_positions=16,
        embed_dim=8,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return Tiny(config, random_params(config, 0))


def tiny_batch() -> Batch:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
    text_ids = rng.integers(1, 100, (8, 6), np.int32)
    text_mask = (np.arange(6) < rng.integers(2, 7, (8, 1))).astype(np.int32)
    text_ids[:, 0] = 101
    return Batch(image, text_ids * text_mask, text_mask)


def tiny_vocabulary(path: Path) -> Tokenizer:
    """Written to `path`; captions of up to 8 pieces."""
    filler = (f"[unused{number}]" for number in range(120))
    pieces = [SPECIALS.get(number) or next(filler) for number in range(120)]
    pieces[1 : 1 + len(WORDS)] = WORDS
    path.write_text("\n".join(pieces) + "\n", "utf-8")
    return Tokenizer(path, 8)


def model_of(task: str, batch_size: int = 4) -> Model:
    """What answers questions, with random weights and the vocabulary of the scenes."""
    config = ModelConfig(**SERVED)
    params = random_params(config, 1, task)
    return Model(task, config, params, Tokenizer("scenes", 40), batch_size)
