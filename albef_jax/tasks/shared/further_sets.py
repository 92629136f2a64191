"""Figures of further evaluation sets, `data.also_eval_files`, beside those of `data.eval_files`."""

from pathlib import Path
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config import evaluation
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.sync import is_main_process, print_on_main
from albef_jax.evaluate import queries
from albef_jax.tasks.shared.base import Task
from albef_jax.train.state import TrainState

FOLDER = "evaluation"  # in the workdir; a folder for each set
_OF_ALL = ("task", "preset", "step")


def opened(config: ConfigDict, folder: Path) -> Task:
    """A task that evaluates on data of its own, and writes what it writes into a folder."""
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
    return task_spec(config.task).run(config, folder, eval_only=True)


class FurtherSets:
    """Opened at once, so that their errors come before training.

    Args:
        config: of the run.
        workdir: of the run. What an evaluation writes, such as the answers of `vqa`, is in
            `evaluation/NAME`.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self._tasks: dict[str, Task] = {}
        for name, own in evaluation.further_sets(config).items():
            task = opened(own, workdir / FOLDER / name)
            task.evaluated_on = task.evaluated_on.replace("data.eval_files", own.data.eval_files)
            self._tasks[name] = task

    def evaluate(self, state: TrainState, mesh: Mesh) -> dict[str, dict[str, Any]]:
        """Evaluate on each, and print what was found.

        Returns:
            By the names of the sets, as in `results.json`, with `scores` besides.
        """
        found = {}
        for name, task in self._tasks.items():
            print_on_main(f"evaluating on {name} ...")
            one = task.evaluate(state, mesh)
            print_on_main(*one.lines, f"on {name}: {one.results['evaluated_on']}")
            if is_main_process():
                queries.write(task.workdir, one.queries)
            own = {key: value for key, value in one.results.items() if key not in _OF_ALL}
            found[name] = {**own, "scores": one.scores}
        return found
