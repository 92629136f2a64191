"""Finding tasks: each file in `albef_jax/tasks/` declares one, under the file's name.

The file's `TASK` gives the options the task adds, the model it uses and the class that runs it.
Listing the names imports nothing; a declaration is imported when it is needed, because it pulls in
everything the task uses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

_FOLDER = Path(__file__).parents[1] / "tasks"
TASKS = tuple(sorted(file.stem for file in _FOLDER.glob("[a-z]*.py")))


@dataclass(frozen=True)
class TaskSpec:
    """A task's declaration.

    Attributes:
        model: which parts the model has, a key of `models.task_models.MODELS`.
        options: adds the task's options to the defaults that all tasks have, and changes theirs.
        run: the subclass of `tasks.shared.base.Task` that opens, trains and evaluates.
        sources: what `data.source` may be. Tasks with `data.mixture` take all kinds of pairs.
        trains: whether there is anything to train; else a run only evaluates.
        scores: what `checkpoint.best` may name, keys of `Evaluation.scores`.
    """

    model: str
    options: Callable[[ConfigDict], None]
    run: type[Any]
    sources: tuple[str, ...] = ("json", "scenes")
    trains: bool = True
    scores: tuple[str, ...] = ()


@cache
def task_spec(name: str) -> TaskSpec:
    """The declaration of a task, one of `TASKS`."""
    return import_module(f"albef_jax.tasks.{name}").TASK
