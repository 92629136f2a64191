"""Evaluation while training: every so often the weights are judged on data that choose the step."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.config import evaluation
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.sync import (
    broadcast_from_main,
    is_main_process,
    print_on_main,
    raise_on_all_processes,
)
from albef_jax.errors import ConfigError, UnsoundScores
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.further_sets import opened
from albef_jax.train.state import TrainState
from albef_jax.workdir import trajectory


class Validation:
    """Judges a run's steps (`train.loop.Judge`).

    Each judged step is a line of `validation.jsonl`; what an evaluation leaves besides is in
    `validation/`. Of equal scores the earliest step is the best. A score that is not finite is
    kept as null, and never the best.

    Args:
        task: the one that is trained.
        workdir: of the run.
        mesh: what the evaluations run on.

    Attributes:
        score: the name of the one that chooses; empty to choose none.
        judged: the steps so far, in order.
    """

    def __init__(self, task: Task, workdir: Path, mesh: Mesh):
        config = task.config
        self.score = config.checkpoint.best
        self._task = opened(evaluation.of_validation(config), workdir / "validation")
        self._every = evaluation.every(config, task.steps_per_epoch)
        self._last, self._steps_per_epoch = task.total_steps, task.steps_per_epoch
        self._workdir, self._mesh = workdir, mesh
        self.judged: list[trajectory.Judged] = []

    def begin(self, step: int, state: TrainState) -> int | None:
        """Read what was judged up to this step, and judge the step if that was interrupted.

        Returns:
            The best step so far.
        """
        kept = []
        with raise_on_all_processes(ConfigError):
            if is_main_process():
                kept = trajectory.read(self._workdir, up_to=step)
        found = broadcast_from_main([asdict(one) for one in kept])
        self.judged = [trajectory.Judged(**one) for one in found]
        if self.due(step) and all(one.step != step for one in self.judged):
            self.judge(step, state)
        return self.best_step

    def due(self, step: int) -> bool:
        """Whether the weights after this step are judged: every so often, and the last."""
        return step > 0 and (step % self._every == 0 or step == self._last)

    def judge(self, step: int, state: TrainState) -> dict[str, float]:
        """Evaluate, keep the scores, and say how good the step is."""
        try:
            scores = self._task.evaluate(state, self._mesh).scores
        except UnsoundScores as error:
            print_on_main(f"WARNING: step {step} cannot be judged: {error}")
            scores = dict.fromkeys(task_spec(self._task.config.task).scores, float("nan"))
        epoch = round(step / self._steps_per_epoch, 3)
        one = trajectory.Judged(step, epoch, trajectory.finite(scores))
        self.judged = [*self.judged, one]
        if is_main_process():
            trajectory.write(self._workdir, self.judged)
        print_on_main(self._told(one))
        return scores

    @property
    def best_step(self) -> int | None:
        """The step with the highest score; None without steps, or where none is chosen."""
        found = trajectory.best(self.judged, self.score) if self.score else None
        return found.step if found else None

    def _told(self, one: trajectory.Judged) -> str:
        scores = "  ".join(
            f"{name} {'not finite' if value is None else f'{value:.2f}'}"
            for name, value in one.scores.items()
        )
        line = f"step {one.step}, epoch {one.epoch:g}, validation: {scores}"
        if self.best_step is None:
            return line
        best = "the best so far" if self.best_step == one.step else f"best: step {self.best_step}"
        return f"{line}  ({best})"


def validation_of(task: Task, workdir: Path, mesh: Mesh) -> Validation | None:
    """What judges a run while it trains; None if `evaluation.every` is empty."""
    return Validation(task, workdir, mesh) if task.config.evaluation.every else None


def told_in_results(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """What `results.json` holds of the steps that were judged; nothing if none was."""
    judged, score = trajectory.read(workdir), config.checkpoint.best
    if not judged:
        return {}
    best = trajectory.best(judged, score) if score else None
    return {
        "validation": {
            "judged_on": evaluation.described(config),
            "score": score,
            "best_step": best.step if best else None,
            "steps": [asdict(one) for one in judged],
        }
    }
