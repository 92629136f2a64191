"""One run from a checked configuration: train, evaluate, report."""

import json
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.checkpoints.workdir import open_workdir
from albef_jax.config import ConfigError
from albef_jax.data.bad_samples import TooManyBadSamples
from albef_jax.evaluate.examples import Examples
from albef_jax.evaluate.gallery import NothingToEvaluate
from albef_jax.evaluate.report import write_report
from albef_jax.models.albef import count_parameters
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.train.interrupt import Interrupted as Interrupted
from albef_jax.train.loop import restore_or_init, train
from albef_jax.train.mesh import make_mesh
from albef_jax.train.state import TrainState


class RunError(Exception):
    """A run that cannot start or go on, with a message for the user."""


def run(config: ConfigDict, workdir: Path, command: str, *, eval_only: bool) -> Path:
    """Train unless `eval_only`, then evaluate and write the report.

    Args:
        config: validated.
        command: how the run was started, for the report.

    Returns:
        The report's path.

    Raises:
        Interrupted: asked to stop by a signal; the state is saved.
        RunError: configuration, workdir and data do not fit each other, too much of the data is
            bad, or there is nothing to evaluate.
    """
    try:
        mesh = make_mesh(config.mesh.fsdp)
        task = Pretraining(config, open_workdir(workdir, config))
        _check_devices(config, mesh)
    except ValueError as error:
        raise RunError(error) from error
    _announce(config, task, mesh, workdir)
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints:
        if eval_only and checkpoints.latest() is None:
            raise RunError(f"--eval_only: no checkpoint under {workdir}; train first")
        try:
            state = _state(task, workdir, mesh, checkpoints, eval_only)
        except TooManyBadSamples as error:
            raise RunError(error) from error
    try:
        results, examples = _evaluate(task, state, mesh, workdir)
    except (NothingToEvaluate, TooManyBadSamples) as error:
        raise RunError(error) from error
    return write_report(workdir, results, examples, command)


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


def _announce(config: ConfigDict, task: Pretraining, mesh: Mesh, workdir: Path) -> None:
    parameters = count_parameters(jax.eval_shape(task.init_state).params)
    device = mesh.devices.flat[0].device_kind
    print(
        f"albef_jax pre-training, recipe {config.preset or 'custom'}: "
        f"{parameters / 1e6:.1f} M parameters on {mesh.size} x {device}\n"
        f"data: {task.describe_data()}\n"
        f"steps: {task.total_steps} of {task.batch_size} pairs; everything is kept in {workdir}",
        flush=True,
    )


def _state(
    task: Pretraining, workdir: Path, mesh: Mesh, checkpoints: Checkpoints, eval_only: bool
) -> TrainState:
    if eval_only:
        return restore_or_init(task, mesh, checkpoints)[0]
    config = task.config
    return train(
        task,
        workdir,
        mesh,
        checkpoints,
        log_every=config.log.every_steps,
        save_every=config.checkpoint.every_steps,
    )


def _evaluate(
    task: Pretraining, state: TrainState, mesh: Mesh, workdir: Path
) -> tuple[dict, Examples]:
    print("evaluating ...", flush=True)
    results, examples = task.evaluate(state, mesh)
    text = json.dumps(results, indent=2) + "\n"
    (workdir / "results.json").write_text(text, encoding="utf-8")
    for name in ("itc", "itm"):
        figures = results["retrieval"][name]
        texts, images = figures["text_retrieval"], figures["image_retrieval"]
        print(
            f"{name.upper()}  text R@1/5/10 {texts['r1']:.1f}/{texts['r5']:.1f}/{texts['r10']:.1f}"
            f"  image R@1/5/10 {images['r1']:.1f}/{images['r5']:.1f}/{images['r10']:.1f}",
        )
    print(f"on {results['evaluated_on']}; chance R@1 is {results['retrieval']['chance_r1']:.2f}")
    return results, examples
