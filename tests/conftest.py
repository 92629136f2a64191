"""What the tests share: eight virtual devices, checked array shapes, one very small model."""
# ruff: noqa: E402 - the order of imports matters here

import os

# Before jax starts: the mesh tests need eight devices.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
# Threads of XLA's pool. Each device of a collective blocks one until all have arrived, and may be
# in two at a time: with as many threads as devices, a loaded machine runs into a deadlock.
os.environ.setdefault("NPROC", "64")

from functools import partial
from typing import NamedTuple

import jax
import jaxtyping
import numpy as np
import pytest
from jax._src import compiler

from tests.helpers.processes import QUICK_COMPILER

# Shapes in signatures are checked while tests run; before anything imports these modules.
CHECKED = (
    "classification contrastive distillation masked_lm matching pretraining queue retrieval "
    "text_assignment vqa"
)
jaxtyping.install_import_hook(
    [f"albef_jax.losses.{module}" for module in CHECKED.split()], "beartype.beartype"
)

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.distributed.mesh import make_mesh
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, init_state

# 120 pieces with BERT's special tokens where the official vocabulary has them.
WORDS = ["red", "green", "blue", "circle", "square", "triangle", "left", "right", "of", "a", "##s"]
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def quick(get_compile_options):
    """Where XLA is told not to optimise, it generates code in its quicker way, too."""

    def options(*args, **kwargs):
        found = get_compile_options(*args, **kwargs)
        if jax.config.read("jax_disable_most_optimizations"):
            found.env_option_overrides += list(QUICK_COMPILER.items())
        return found

    return options


compiler.get_compile_options = quick(compiler.get_compile_options)  # jax has no option for it


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Tests, and the processes that they start, compile the same programs again and again.

    Not shared by the workers: jax writes these files in place, and would read half of one.
    """
    where = tmp_path_factory.mktemp("compiled")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(where),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    }
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Parity runs what users run, on numpy arrays; other tests check shapes and compile fast."""
    parity = "parity" in item.path.parts
    jax.config.update("jax_disable_most_optimizations", not parity)
    jaxtyping.config.update("jaxtyping_disable", parity)


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


@pytest.fixture(scope="session")
def tiny() -> Tiny:
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


@pytest.fixture(scope="session")
def fresh_state(tiny) -> TrainState:
    """As a run starts, with a queue of 24 features."""
    optimizer = adamw(lambda step: jax.numpy.float32(1e-3), 0.02)
    start = jax.jit(partial(init_state, tiny.config, optimizer, 24))
    return start(jax.random.key(0))


@pytest.fixture(scope="session")
def batch() -> Batch:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
    text_ids = rng.integers(1, 100, (8, 6), np.int32)
    text_mask = (np.arange(6) < rng.integers(2, 7, (8, 1))).astype(np.int32)
    text_ids[:, 0] = 101
    return Batch(image, text_ids * text_mask, text_mask)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    filler = (f"[unused{number}]" for number in range(120))
    pieces = [SPECIALS.get(number) or next(filler) for number in range(120)]
    pieces[1 : 1 + len(WORDS)] = WORDS
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(pieces) + "\n", "utf-8")
    return Tokenizer(path, 8)


@pytest.fixture(scope="module")
def one_device():
    """Whole runs on one device compile in half the time; meshes have tests of their own."""
    alone = make_mesh(devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("albef_jax.run.make_mesh", lambda fsdp: alone)
        yield alone
