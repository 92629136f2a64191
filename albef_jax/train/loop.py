"""The training loop: restore, step, log, save. It knows a task only by `Trainable`."""

import sys
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.telemetry.writers import MetricsFile, human_line
from albef_jax.train.interrupt import Interrupted, StopRequests
from albef_jax.train.mesh import state_shardings, to_devices
from albef_jax.train.state import TrainState
from albef_jax.train.step import Metrics, Step

# Metrics averaged, or summed, between two log lines; of the others the last value is kept.
AVERAGED = ("loss", "accuracy", "grad_norm")
SUMMED = ("mlm_overflow", "pairs_without_negative")


class Trainable(Protocol):
    """What the loop needs of a task."""

    total_steps: int
    batch_size: int
    inputs: tuple[str, ...]

    def init_state(self) -> TrainState:
        """A fresh state; runs inside jit."""
        ...

    def start(self, shardings: TrainState) -> TrainState:
        """The state at step 0, on its devices."""
        ...

    def step(self, mesh: Mesh, abstract_state: TrainState) -> Step:
        """The compiled update."""
        ...

    def batches(self, start_step: int) -> Generator[dict[str, np.ndarray]]:
        """This host's batches from a step on."""
        ...

    def counters(self) -> dict[str, float]:
        """Further numbers for a log line."""
        ...


@dataclass
class Window:
    """Metrics and times since the last log line."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    metrics: list[dict[str, float]] = field(default_factory=list)

    def summary(self, step: int, batch_size: int) -> dict[str, float]:
        """One log line's numbers."""
        seconds = time.perf_counter() - self.started
        line = {"step": step, **self.metrics[-1]}
        for name in self.metrics[-1]:
            values = [metrics[name] for metrics in self.metrics]
            if name.startswith(AVERAGED) or name.endswith(AVERAGED):
                line[name] = float(np.mean(values))
            elif name in SUMMED:
                line[name] = sum(values)
        line["pairs_per_s"] = batch_size * len(self.metrics) / seconds
        line["data_wait"] = self.waited / seconds
        return line


def restore_or_init(
    task: Trainable, mesh: Mesh, checkpoints: Checkpoints
) -> tuple[TrainState, TrainState]:
    """The newest saved state, or the one to start from; and its abstract form."""
    abstract = jax.eval_shape(task.init_state)
    shardings = state_shardings(mesh, abstract)
    latest = checkpoints.latest()
    if latest is None:
        return task.start(shardings), abstract
    print(f"continuing from the checkpoint of step {latest}", flush=True)
    target = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )
    return TrainState.from_items(checkpoints.restore(latest, target.items())), abstract


def train(
    task: Trainable,
    workdir: Path,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    log_every: int,
    save_every: int,
) -> TrainState:
    """Run the task to its last step, from wherever the workdir stands.

    Args:
        log_every, save_every: in steps.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, after saving; the same command continues.
    """
    state, abstract = restore_or_init(task, mesh, checkpoints)
    start = int(state.step)
    if start >= task.total_steps:
        print(f"training is complete at step {start}", flush=True)
        return state
    step = task.step(mesh, abstract)
    metrics_file = MetricsFile(workdir / "metrics.jsonl")
    metrics_file.truncate_after(start)
    log = Log(task, metrics_file, start, log_every)
    batches = task.batches(start)
    with StopRequests() as stop, closing(log), closing(batches):
        for number in range(start + 1, task.total_steps + 1):
            waiting = time.perf_counter()
            batch = next(batches)
            arrays = to_devices(mesh, {name: batch[name] for name in task.inputs})
            log.window.waited += time.perf_counter() - waiting
            state, metrics = step(state, arrays)
            log.add(number, metrics)
            asked = stop.signum  # read once: a signal may come while the state is saved
            if number % save_every == 0 or number == task.total_steps or asked:
                checkpoints.save(number, state.items())
            if asked:
                print(f"saved step {number}; the same command continues", flush=True)
                raise Interrupted(asked)
    return state


class Log:
    """Fetches metrics one step late, so that reading them never holds up the device."""

    def __init__(self, task: Trainable, file: MetricsFile, start: int, every: int):
        self.window = Window()
        self._task, self._file, self._every = task, file, every
        self._pending: tuple[int, Metrics] | None = None
        self._bar = tqdm(
            total=task.total_steps,
            initial=start,
            unit="step",
            disable=not sys.stderr.isatty() or jax.process_index() > 0,
        )

    def add(self, number: int, metrics: Metrics) -> None:
        """Take the metrics of step `number`, and handle those of the step before."""
        self._flush()
        self._pending = (number, metrics)
        if number == self._task.total_steps:
            self._flush()

    def close(self) -> None:
        """Write what is still pending."""
        self._flush()
        self._bar.close()

    def _flush(self) -> None:
        if self._pending is None:
            return
        number, metrics = self._pending
        self._pending = None
        self.window.metrics.append({k: float(v) for k, v in jax.device_get(metrics).items()})
        self._bar.update()
        if number % self._every == 0 or number == self._task.total_steps:
            self._write(number)

    def _write(self, number: int) -> None:
        line = self.window.summary(number, self._task.batch_size) | self._task.counters()
        self.window = Window()
        if jax.process_index() > 0:
            return
        self._file.write(line)
        left = (self._task.total_steps - number) * self._task.batch_size
        text = human_line(line, self._task.total_steps, left / line["pairs_per_s"])
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.set_postfix_str(text.split("  ", 1)[1])
