"""What the tests share: eight virtual devices, checked array shapes, one very small model."""
# ruff: noqa: E402 - the order of imports matters here

import gc
import importlib
import os

from tests.helpers.processes import xla_flags

# Tracing makes many objects that live long: looking through them at each turn takes a tenth of it.
gc.set_threshold(50_000, 20, 20)

# Before jax starts: the mesh tests need eight devices.
os.environ.setdefault("XLA_FLAGS", xla_flags(devices=8))
# Threads of XLA's pool. Each device of a collective blocks one until all have arrived, and may be
# in two at a time: with as many threads as devices, a loaded machine runs into a deadlock.
os.environ.setdefault("NPROC", "64")

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import pytest

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
from albef_jax.tasks.shared.base import Task
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, init_state
from tests.helpers.tiny_model import Batch, Tiny, tiny_batch, tiny_model, tiny_vocabulary


def pytest_collection_finish():
    """Modules stay for the whole run, so the garbage collector need not visit them again.

    While `tensorflow_datasets` is imported, imports are lazy everywhere, and semaphores that are
    collected just then cannot import what removes them.
    """
    importlib.import_module("tensorflow_datasets")
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def compile_once(request):
    """Tests, workers and the processes that they start compile the same programs: each once.

    jax does not lock these files. Whoever reads half of one is told so by the checksum, and
    compiles.
    """
    where = request.config.cache.mkdir("compiled")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(where),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    }
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


# The fixtures `bucket` and `bucket_store`, `cache_dir`, and `drawn_weights`.
pytest_plugins = (
    "tests.helpers.buckets",
    "tests.helpers.in_buckets",
    "tests.helpers.drawn_weights",
)

# What takes minutes on one worker, and is begun first: else the others wait for it at the end.
LONGEST = (
    "docs/test_notebooks.py",
    "tasks",
    "run",
    "train",
    "parity",
    "tools/test_commands_run.py",
    "losses",
    "inference",
    "models",
)


def pytest_collection_modifyitems(items):
    """By file, of `LONGEST` first; the order within a file stays."""
    here = Path(__file__).parent

    def place(item):
        path = item.path.relative_to(here)
        return next((n for n, long in enumerate(LONGEST) if path.is_relative_to(long)), 99)

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Parity runs what users run, on numpy arrays; other tests check shapes and compile fast.

    The many programs of the downstream tasks are optimised by XLA where parity is all that is
    tested (`make parity`).
    """
    downstream = item.path.stem in ("test_tasks_parity", "test_evaluation_parity")
    parity = "parity" in item.path.parts
    alone = all("parity" in one.path.parts for one in item.session.items)
    optimised = parity and (alone or not downstream)
    jax.config.update("jax_disable_most_optimizations", not optimised)
    jaxtyping.config.update("jaxtyping_disable", parity)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return tiny_model()


@pytest.fixture(scope="session")
def fresh_state(tiny) -> TrainState:
    """As a run starts, with a queue of 24 features."""
    optimizer = adamw(lambda step: jax.numpy.float32(1e-3), 0.02)
    start = jax.jit(partial(init_state, tiny.config, optimizer, 24))
    return start(jax.random.key(0))


@pytest.fixture(scope="session")
def batch() -> Batch:
    return tiny_batch()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return tiny_vocabulary(tmp_path_factory.mktemp("vocab") / "vocab.txt")


@pytest.fixture(scope="module")
def one_device():
    """Whole runs on one device compile in half the time; meshes have tests of their own.

    A module's runs of one configuration trace and load their programs once.
    """
    alone = make_mesh(devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("albef_jax.run.make_mesh", lambda *_: alone)
        for method in ("step", "memory"):
            patch.setattr(Task, method, once_for_equal_tasks(getattr(Task, method)))
        begin = once_for_equal_tasks(lambda task: partial(FRESH, task))
        patch.setattr(Task, "init_state", property(begin))
        yield alone


FRESH = Task.init_state


def once_for_equal_tasks(method: Callable) -> Callable:
    """The method, called once for tasks whose programs are the same."""
    found: dict[tuple, Any] = {}

    def once(task: Task, *mesh_and_state: Any) -> Any:
        length = task.steps_per_epoch, task.total_steps  # part of the schedules
        shapes = str(jax.tree.flatten(mesh_and_state))
        key = type(task), task.config.to_json(), *length, shapes
        if key not in found:
            found[key] = method(task, *mesh_and_state)
        return found[key]

    return once
