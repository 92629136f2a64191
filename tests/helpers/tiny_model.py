"""Very small models, a batch and a vocabulary for them."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.model import Model
from albef_jax.models import albef, task_models
from albef_jax.models.config import ModelConfig

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


def random_params(config: ModelConfig, seed: int) -> albef.Params:
    """Parameters with noise on biases and norms too; compiles nothing."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = rng.standard_normal(leaf.shape, np.float32)
        kind = path[-1].key
        if kind == "temperature":
            return np.full((), config.temperature, np.float32)
        if kind in ("bias", "scale"):
            return np.float32(kind == "scale") + 0.05 * noise
        return 0.1 * noise

    abstract = jax.eval_shape(partial(albef.init, config), jax.random.key(0))
    return jax.tree.map(jax.numpy.asarray, jax.tree.map_with_path(draw, abstract))


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
    params = task_models.init(config, task, jax.random.key(1))
    return Model(task, config, params, Tokenizer("scenes", 40), batch_size)
