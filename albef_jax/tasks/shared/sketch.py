"""A task of the right sizes without its data: for what follows from shapes alone."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from albef_jax.config import auto
from albef_jax.config.tasks import task_spec
from albef_jax.tasks.shared.base import Task
from albef_jax.train.memory import Memory

# What the built-in world has no use for.
_FILES = (
    "train_files",
    "eval_files",
    "eval_source",
    "val_files",
    "also_eval_files",
    "answer_list",
    "references",
    "instances",
    "detections",
)


def sketch(config: ConfigDict, settings: dict[str, Any]) -> Task:
    """The task of a configuration on the built-in world, which needs no files.

    Args:
        settings: values for the options that may be `auto`.
    """
    config = without_files(config)
    auto.change(config, settings)
    config.model.attention = "xla"  # cuDNN's cannot be traced without a card, and keeps no more
    with config.ignore_type():
        config.data.scenes.train_size = config.train.batch_size
        config.train.update({"steps": 1, "epochs": 1})
    return task_spec(config.task).run(config, Path("no workdir"))


def without_files(config: ConfigDict) -> ConfigDict:
    """The same configuration on the built-in world."""
    config = config.copy_and_resolve_references()
    config.data.update({"source": "scenes", "workers": 0})
    config.data.update({name: "" for name in _FILES if name in config.data})
    config.data.update({"mixture": ()} if "mixture" in config.data else {})
    return config


def estimator(config: ConfigDict, mesh: Mesh | AbstractMesh) -> Callable[[dict[str, Any]], Memory]:
    """What a step takes on each device under given settings; by tracing, which takes seconds."""

    @cache
    def taken(*settings: tuple[str, Any]) -> Memory:
        task = sketch(config, dict(settings))
        return task.memory(mesh, jax.eval_shape(task.init_state))

    return lambda settings: taken(*settings.items())
