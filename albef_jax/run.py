"""One run from a checked configuration: train, evaluate, report."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.checkpoints.at_place import checkpoints_at, steps_in
from albef_jax.checkpoints.branch import branch
from albef_jax.checkpoints.bucket_steps import FOLDER
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.checkpoints.paths import check_writable_name
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.mesh import make_mesh, to_devices
from albef_jax.distributed.sync import (
    broadcast_from_main,
    check_same,
    check_shared,
    is_main_process,
    print_on_main,
    raise_on_all_processes,
)
from albef_jax.errors import (
    CheckpointError,
    ConfigError,
    NothingToEvaluate,
    RunError,
    SaveError,
    TooManyBadSamples,
    UnsoundScores,
    WorkerLost,
)
from albef_jax.evaluate import queries
from albef_jax.models.albef import count_parameters
from albef_jax.observability.profile_window import ProfileWindow
from albef_jax.report.rendering import REPORT, render
from albef_jax.storage.addresses import in_bucket
from albef_jax.system import atomic
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.evaluation import Evaluation
from albef_jax.tasks.shared.further_sets import FurtherSets
from albef_jax.tasks.shared.settle import settled
from albef_jax.tasks.shared.validation import told_in_results, validation_of
from albef_jax.train.loop import restore_or_init, train
from albef_jax.train.resilience import replay
from albef_jax.train.resilience.nonfinite import Guards, TrainingDiverged
from albef_jax.train.state import TrainState
from albef_jax.version import __version__
from albef_jax.workdir import trajectory
from albef_jax.workdir.config_file import compare_configs, flatten, open_workdir
from albef_jax.workdir.place import Place, claimed, opened
from albef_jax.workdir.saved_steps import newest_step
from albef_jax.workdir.trained_on import check_data
from albef_jax.workdir.writable import disk_errors_told


def run(
    config: ConfigDict,
    workdir: str | Path,
    command: str,
    *,
    eval_only: bool,
    profile: ProfileWindow | None = None,
    extend: bool = False,
    branch_from: str | Path | None = None,
) -> Path:
    """Train unless `eval_only`, then evaluate and write the report.

    Args:
        config: validated.
        workdir: a path, or an address in a bucket.
        command: how the run was started, for the report.
        profile: steps to trace.
        extend: go on with another length or schedule (`workdir.config_file.EXTENDED`).
        branch_from: begin with the state of another run, see `checkpoints.branch`.

    Returns:
        The report's path; of a workdir in a bucket, where a copy of it was.

    Raises:
        Interrupted: asked to stop by a signal; the state is saved.
        RunError: configuration, workdir and data do not fit each other, the workdir is in use, too
            much of the data is bad, a data worker was killed, training diverges, the disk is full,
            or there is nothing to evaluate.
    """
    eval_only = eval_only or not task_spec(config.task).trains
    try:
        with ExitStack() as held:
            try:
                mesh, place = _begin(held, str(workdir), config)
                check_same(_what_to_do(config, eval_only))
                config = settled(config, mesh, place.path)
                if branch_from:
                    _branch(branch_from, place, config)
                task = _task(config, place.path, mesh, eval_only, extend)
                with raise_on_all_processes(ValueError):
                    further = FurtherSets(config, place.path)
            except ValueError as error:
                raise RunError(error) from error
            return _run(task, further, place, command, mesh, eval_only, profile)
    except SaveError as error:  # of the last files
        raise RunError(error) from error


def _begin(held: ExitStack, workdir: str, config: ConfigDict) -> tuple[Mesh, Place]:
    """The devices, and the workdir, locked by the first process; all must call it."""
    remote = in_bucket(workdir)
    if not remote:
        held.enter_context(disk_errors_told(Path(workdir)))
        check_writable_name(Path(workdir), f"--workdir={workdir}")
    _check_group()
    mesh = make_mesh(config.mesh.fsdp, config.mesh.slices)
    with raise_on_all_processes(ConfigError):
        lease = held.enter_context(claimed(workdir, config.storage, is_main_process()))
    with raise_on_all_processes(ConfigError):
        place = held.enter_context(opened(workdir, config.storage, lease, jax.process_index()))
        held.enter_context(_errors_told(place))
        if remote:
            held.enter_context(disk_errors_told(place.path))
            steps_in(place).fetch_newest(place.path / FOLDER)
    if remote:
        check_same({"step to go on from": newest_step(place.path)})
    else:
        check_shared(place.path)
    return mesh, place


def _run(
    task: Task,
    further: FurtherSets,
    place: Place,
    command: str,
    mesh: Mesh,
    eval_only: bool,
    profile: ProfileWindow | None,
) -> Path:
    config, workdir = task.config, place.path
    _announce(config, task, mesh, place.name)
    with checkpoints_at(place, config.checkpoint) as checkpoints:
        if eval_only and checkpoints.latest() is None and not config.init.checkpoint:
            if not task_spec(config.task).trains:
                raise RunError(f"task {config.task} trains nothing: set init.checkpoint")
            raise RunError(
                f"--eval_only: no checkpoint under {workdir}; train first, or set init.checkpoint"
            )
        try:
            state = _state(task, place, mesh, checkpoints, eval_only, profile)
        except (ConfigError, CheckpointError, SaveError, WorkerLost) as error:
            raise RunError(error) from error
        except (TooManyBadSamples, NothingToEvaluate) as error:  # in training, or judging it
            raise RunError(error) from error
        except TrainingDiverged as error:
            raise RunError(
                f"{error}. Their updates were left out; the newest checkpoint is from before or "
                f"equal. Step {error.step} is kept in {error.bundle}: the same command with "
                f"--replay={error.bundle} shows where it begins"
            ) from error
    try:
        evaluation = _evaluate(task, further, state, mesh, workdir)
    except (ConfigError, NothingToEvaluate, TooManyBadSamples, UnsoundScores) as error:
        raise RunError(error) from error
    if not is_main_process():
        return workdir / REPORT
    worst = queries.worst(evaluation.queries, config.evaluation.examples)
    context = {**evaluation.context, "worst": worst}
    return render(evaluation.template, workdir, evaluation.results, command, **context)


@contextmanager
def _errors_told(place: Place) -> Iterator[None]:
    """Errors name the workdir as the user does, not its local copy."""
    try:
        yield
    except RunError as error:
        raise RunError(place.told(error)) from error


def _branch(source: str | Path, place: Place, config: ConfigDict) -> None:
    """Give the workdir a step of another run, unless it has begun; all must call it."""
    with raise_on_all_processes(ValueError):
        if is_main_process() and (done := branch(source, place.path, config)):
            if place.folder and (step := newest_step(place.path)) is not None:
                steps_in(place).upload(step, place.path / FOLDER / str(step))
            print_on_main(done)
    if place.folder and newest_step(place.path) is None:  # of another process than the first
        steps_in(place).fetch_newest(place.path / FOLDER)


def _task(config: ConfigDict, workdir: Path, mesh: Mesh, eval_only: bool, extend: bool) -> Task:
    """The task with its data, which all processes must have alike."""
    with raise_on_all_processes(ValueError):
        opened = open_workdir(workdir, config, extend)
        task = task_spec(config.task).run(config, opened, eval_only)
        _check_devices(config, mesh)
        if is_main_process():
            for line in check_data(workdir, config, task.source, eval_only=eval_only):
                print(f"WARNING: other data than before, accepted: {line}", file=sys.stderr)
    check_same(task.sizes())
    return task


def _check_group() -> None:
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ConfigError(
            f"these are {jax.process_count()} processes without a coordinator; add "
            "--coordinator=auto (docs/launching.md)"
        )


def _what_to_do(config: ConfigDict, eval_only: bool) -> dict[str, Any]:
    """What all processes of a job must agree in."""
    options = {f"value of {name}": value for name, value in flatten(config.to_dict()).items()}
    return {"version": __version__, "jax": jax.__version__, "--eval_only": eval_only, **options}


def replay_step(config: ConfigDict, bundle: Path) -> bool:
    """Run the step of a bundle again, and print what it gave then and now.

    Returns:
        Whether it gave the same, to the last bit.

    Raises:
        RunError: no whole bundle, or one of another configuration.
    """
    try:
        recorded = replay.read_bundle(bundle)
        kept = json.loads((bundle / "config.json").read_bytes())
        mesh = make_mesh(config.mesh.fsdp, config.mesh.slices)
        config = settled(config, mesh, bundle)
        compare_configs(bundle / "config.json", kept, json.loads(config.to_json()))
        task = task_spec(config.task).run(config, bundle)
        with Checkpoints(bundle / "checkpoints", keep=1) as checkpoints:
            state, abstract = restore_or_init(task, mesh, checkpoints, move_aside=False)
    except (OSError, ValueError) as error:
        raise RunError(error) from error
    unsound = replay.nonfinite_modules(state.params)
    arrays = to_devices(mesh, {name: recorded.batch[name] for name in task.step_inputs})
    _, metrics = task.step(mesh, abstract)(state, arrays)
    found = {name: float(value) for name, value in jax.device_get(metrics).items()}
    different = replay.differing_metrics(recorded.metrics, found)
    verdict = f"NOT reproduced: different are {', '.join(different)}" if different else "reproduced"
    print_on_main(
        *replay.table(recorded, found),
        f"first not finite: {replay.first_not_finite(found, unsound)}",
        verdict,
    )
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


def _announce(config: ConfigDict, task: Task, mesh: Mesh, workdir: str) -> None:
    params = jax.eval_shape(task.init_state).params
    parameters, trained = map(count_parameters, (params, task.frozen.trained(params)))
    still = f", {trained / 1e6:.1f} M of them trained" if trained < parameters else ""
    steps = f"{task.total_steps} of {task.batch_size} {task.items}"
    if not task_spec(config.task).trains:
        steps = "none, nothing is trained"
    device = mesh.devices.flat[0].device_kind
    print_on_main(
        f"albef_jax {config.task}, recipe {config.preset or 'custom'}: "
        f"{parameters / 1e6:.1f} M parameters{still} on {mesh.size} x {device}\n"
        f"data: {task.describe_data()}\n"
        f"evaluation: {task.describe_evaluation()}\n"
        f"steps: {steps}; all is kept in {workdir}"
    )


def _state(
    task: Task,
    place: Place,
    mesh: Mesh,
    checkpoints: Checkpoints,
    eval_only: bool,
    profile: ProfileWindow | None,
) -> TrainState:
    workdir = place.path
    if eval_only:
        return _chosen(task, workdir, mesh, checkpoints)
    config = task.config
    judge = validation_of(task, workdir, mesh)
    state = train(
        task,
        workdir,
        mesh,
        checkpoints,
        log_every=config.log.every_steps,
        save_every=config.checkpoint.every_steps,
        guards=Guards(**config.guards),
        judge=judge,
        writers=config.log.writers,
        profile=profile,
    )
    place.collect()
    task.bad_samples.merge(last=True)
    if judge and judge.best_step not in (None, int(state.step)):
        print_on_main(f"step {judge.best_step} is the best by {judge.score}")
        del state  # before the other is read
        return _chosen(task, workdir, mesh, checkpoints)
    return state


def _chosen(task: Task, workdir: Path, mesh: Mesh, checkpoints: Checkpoints) -> TrainState:
    """The step that evaluation while training has chosen, or the newest."""
    best = None
    with raise_on_all_processes(ConfigError):
        if is_main_process():
            best = trajectory.best_step(workdir)
    first = broadcast_from_main(best)
    return restore_or_init(task, mesh, checkpoints, move_aside=False, first=first)[0]


def _evaluate(
    task: Task, further: FurtherSets, state: TrainState, mesh: Mesh, workdir: Path
) -> Evaluation:
    also = further.evaluate(state, mesh)
    print_on_main("evaluating ...")
    evaluation = task.evaluate(state, mesh)
    if also:
        evaluation.results.update(scores=evaluation.scores, also=also)
    evaluation.results.update(told_in_results(task.config, workdir))
    if is_main_process():
        text = json.dumps(evaluation.results, indent=2) + "\n"
        atomic.write_text(workdir / "results.json", text)
        queries.write(workdir, evaluation.queries)
    print_on_main(*evaluation.lines, f"on {evaluation.results['evaluated_on']}")
    return evaluation
