"""One run from a checked configuration: train, evaluate, report."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax import atomic
from albef_jax.checkpoints.lock import locked
from albef_jax.checkpoints.manager import Checkpoints, SaveError
from albef_jax.checkpoints.torch_file import CheckpointError
from albef_jax.checkpoints.workdir import compare, open_workdir
from albef_jax.config import ConfigError
from albef_jax.data.bad_samples import TooManyBadSamples
from albef_jax.evaluate.gallery import NothingToEvaluate
from albef_jax.evaluate.report import render
from albef_jax.models.albef import count_parameters
from albef_jax.tasks.base import Evaluation, Task
from albef_jax.tasks.entailment import Entailment
from albef_jax.tasks.grounding import Grounding
from albef_jax.tasks.nlvr import Nlvr
from albef_jax.tasks.nlvr_pretrain import TextAssignment
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.tasks.retrieval import Retrieval
from albef_jax.tasks.vqa import Vqa
from albef_jax.telemetry.span import Span
from albef_jax.train import replay
from albef_jax.train.guards import Guards, NotFinite
from albef_jax.train.interrupt import Interrupted as Interrupted
from albef_jax.train.loop import restore_or_init, train
from albef_jax.train.mesh import make_mesh, to_devices
from albef_jax.train.state import TrainState

TASK: dict[str, type[Task]] = {
    "pretrain": Pretraining,
    "retrieval": Retrieval,
    "entailment": Entailment,
    "vqa": Vqa,
    "nlvr_pretrain": TextAssignment,
    "nlvr": Nlvr,
    "grounding": Grounding,
}


class RunError(Exception):
    """A run that cannot start or go on, with a message for the user."""


def run(
    config: ConfigDict,
    workdir: Path,
    command: str,
    *,
    eval_only: bool,
    profile: Span | None = None,
) -> Path:
    """Train unless `eval_only`, then evaluate and write the report.

    Args:
        config: validated.
        command: how the run was started, for the report.
        profile: steps to trace.

    Returns:
        The report's path.

    Raises:
        Interrupted: asked to stop by a signal; the state is saved.
        RunError: configuration, workdir and data do not fit each other, the workdir is in use, too
            much of the data is bad, training diverges, the disk is full, or there is nothing to
            evaluate.
    """
    with _full_disk_told(workdir):
        try:
            mesh = make_mesh(config.mesh.fsdp)
            with locked(workdir, jax.process_index() == 0):
                return _run(config, workdir, command, mesh, eval_only, profile)
        except ConfigError as error:
            raise RunError(error) from error


def _run(
    config: ConfigDict,
    workdir: Path,
    command: str,
    mesh: Mesh,
    eval_only: bool,
    profile: Span | None,
) -> Path:
    try:
        task = TASK[config.task](config, open_workdir(workdir, config), eval_only)
        _check_devices(config, mesh)
    except ValueError as error:
        raise RunError(error) from error
    _announce(config, task, mesh, workdir)
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints:
        if eval_only and checkpoints.latest() is None and not config.init.checkpoint:
            raise RunError(
                f"--eval_only: no checkpoint under {workdir}; train first, or set init.checkpoint"
            )
        try:
            state = _state(task, workdir, mesh, checkpoints, eval_only, profile)
        except (TooManyBadSamples, CheckpointError, SaveError) as error:
            raise RunError(error) from error
        except NotFinite as error:
            raise RunError(
                f"{error}. Their updates were left out; the newest checkpoint is from before or "
                f"equal. Step {error.step} is kept in {error.bundle}: the same command with "
                f"--replay={error.bundle} shows where it begins"
            ) from error
    try:
        evaluation = _evaluate(task, state, mesh, workdir)
    except (NothingToEvaluate, TooManyBadSamples) as error:
        raise RunError(error) from error
    return render(evaluation.template, workdir, evaluation.results, command, **evaluation.context)


@contextmanager
def _full_disk_told(workdir: Path) -> Iterator[None]:
    """A full disk is one line, whatever was being written; what is there stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RunError(
            f"{workdir}: cannot write ({error}). Make room; the same command continues from the "
            "newest checkpoint"
        ) from error


def replay_step(config: ConfigDict, bundle: Path) -> bool:
    """Run the step of a bundle again, and print what it gave then and now.

    Returns:
        Whether it gave the same, to the last bit.

    Raises:
        RunError: no whole bundle, or one of another configuration.
    """
    try:
        recorded = replay.read(bundle)
        kept = json.loads((bundle / "config.json").read_text("utf-8"))
        compare(bundle / "config.json", kept, json.loads(config.to_json()))
        mesh = make_mesh(config.mesh.fsdp)
        task = TASK[config.task](config, bundle)
        with Checkpoints(bundle / "checkpoints", keep=1) as checkpoints:
            state, abstract = restore_or_init(task, mesh, checkpoints, move_aside=False)
    except (OSError, ValueError) as error:
        raise RunError(error) from error
    unsound = replay.unsound(state.params)
    arrays = to_devices(mesh, {name: recorded.batch[name] for name in task.inputs})
    _, metrics = task.step(mesh, abstract)(state, arrays)
    found = {name: float(value) for name, value in jax.device_get(metrics).items()}
    different = replay.compare(recorded.metrics, found)
    print(*replay.table(recorded, found), sep="\n")
    print(f"first not finite: {replay.first_not_finite(found, unsound)}")
    verdict = f"NOT reproduced: different are {', '.join(different)}" if different else "reproduced"
    print(verdict, flush=True)
    return not different


def _check_devices(config: ConfigDict, mesh: Mesh) -> None:
    for name, rows in (
        ("train.batch_size", config.train.batch_size),
        ("evaluation.batch_size", config.evaluation.batch_size),
    ):
        if rows % mesh.size:
            near = max(round(rows / mesh.size), 1) * mesh.size
            raise ConfigError(
                f"{name}={rows} does not divide over {mesh.size} devices; the nearest is {near}"
            )


def _announce(config: ConfigDict, task: Task, mesh: Mesh, workdir: Path) -> None:
    parameters = count_parameters(jax.eval_shape(task.init_state).params)
    device = mesh.devices.flat[0].device_kind
    print(
        f"albef_jax {config.task}, recipe {config.preset or 'custom'}: "
        f"{parameters / 1e6:.1f} M parameters on {mesh.size} x {device}\n"
        f"data: {task.describe_data()}\n"
        f"steps: {task.total_steps} of {task.batch_size} {task.items}; all is kept in {workdir}",
        flush=True,
    )


def _state(
    task: Task,
    workdir: Path,
    mesh: Mesh,
    checkpoints: Checkpoints,
    eval_only: bool,
    profile: Span | None,
) -> TrainState:
    if eval_only:
        return restore_or_init(task, mesh, checkpoints, move_aside=False)[0]
    config = task.config
    return train(
        task,
        workdir,
        mesh,
        checkpoints,
        log_every=config.log.every_steps,
        save_every=config.checkpoint.every_steps,
        guards=Guards(**config.guards),
        writers=config.log.writers,
        profile=profile,
    )


def _evaluate(task: Task, state: TrainState, mesh: Mesh, workdir: Path) -> Evaluation:
    print("evaluating ...", flush=True)
    evaluation = task.evaluate(state, mesh)
    text = json.dumps(evaluation.results, indent=2) + "\n"
    atomic.write_text(workdir / "results.json", text)
    print(*evaluation.lines, f"on {evaluation.results['evaluated_on']}", sep="\n", flush=True)
    return evaluation
