"""The training loop: restore, step, log, save. It knows a task only by `Trainable`."""

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import state_shardings, to_devices
from albef_jax.distributed.sync import is_main_process, print_on_main
from albef_jax.errors import Interrupted
from albef_jax.observability.data_wait import DataWait
from albef_jax.observability.flops import peak
from albef_jax.observability.metrics import Writers, human_line, open_writers
from albef_jax.observability.profile_window import ProfileWindow
from albef_jax.observability.profiler import Profile
from albef_jax.train.memory import Memory
from albef_jax.train.resilience import replay
from albef_jax.train.resilience.nonfinite import SKIPPED, Guards, SkipCounter, TrainingDiverged
from albef_jax.train.resilience.preemption import StopRequests, SyncedSignal
from albef_jax.train.resilience.watchdog import Watchdog
from albef_jax.train.state import TrainState
from albef_jax.train.step import Metrics, Step

# Metrics averaged, or summed, between two log lines; of the others the last value is kept.
AVERAGED = ("loss", "accuracy", "grad_norm")
SUMMED = ("mlm_overflow", "pairs_without_negative", SKIPPED)


DEFAULT_GUARDS = Guards()


class Trainable(Protocol):
    """What the loop needs of a task.

    Attributes:
        threads: that prepare its data.
    """

    total_steps: int
    batch_size: int
    threads: int

    def init_state(self) -> TrainState:
        """A fresh state; runs inside jit."""
        ...

    def start(self, shardings: TrainState) -> TrainState:
        """The state at step 0, on its devices."""
        ...

    def step(self, mesh: Mesh, abstract_state: TrainState) -> Step:
        """The compiled update."""
        ...

    def memory(self, mesh: Mesh, abstract_state: TrainState) -> Memory:
        """What a step takes on each device, estimated."""
        ...

    @property
    def step_inputs(self) -> tuple[str, ...]:
        """Arrays of a batch that go to the devices."""
        ...

    def prepare(self, state: TrainState, mesh: Mesh) -> None:
        """Make what must be there before the first batch."""
        ...

    def batches(self, start_step: int, mesh: Mesh) -> Generator[dict[str, np.ndarray]]:
        """This host's batches from a step on."""
        ...

    def step_flops(self, text_len: int) -> float | None:
        """Floating-point operations of a step on texts of a width; None if they are not counted."""
        ...

    def counters(self) -> dict[str, float]:
        """Further numbers for a log line."""
        ...


class Judge(Protocol):
    """What evaluates a run while it trains."""

    def begin(self, step: int, state: TrainState) -> int | None:
        """Go on from a saved step, and judge it if that was interrupted; the best step so far."""
        ...

    def due(self, step: int) -> bool:
        """Whether the state after this step is judged."""
        ...

    def judge(self, step: int, state: TrainState) -> dict[str, float]:
        """The scores of a state that is saved."""
        ...

    @property
    def best_step(self) -> int | None:
        """The step to keep; None for none but the newest."""
        ...


@dataclass
class Window:
    """Metrics and times since the last log line.

    Attributes:
        at_peak: seconds that the steps would have taken at the devices' peak; None if unknown.
    """

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    at_peak: float | None = None
    metrics: list[dict[str, float]] = field(default_factory=list)

    def summary(self, step: int, batch_size: int) -> dict[str, float]:
        """One log line's numbers."""
        seconds = time.perf_counter() - self.started
        line = {"step": step, **self.metrics[-1]}
        done = [metrics for metrics in self.metrics if not metrics.get(SKIPPED)] or self.metrics
        for name in self.metrics[-1]:
            if name.startswith(AVERAGED) or name.endswith(AVERAGED):
                line[name] = float(np.mean([metrics[name] for metrics in done]))
            elif name in SUMMED:
                line[name] = sum(metrics[name] for metrics in self.metrics)
        line["pairs_per_s"] = batch_size * len(self.metrics) / seconds
        line["data_wait"] = self.waited / seconds
        if self.at_peak is not None:
            line["mfu"] = self.at_peak / seconds
        return line


def restore_or_init(
    task: Trainable,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    move_aside: bool = True,
    first: int | None = None,
) -> tuple[TrainState, TrainState]:
    """The newest saved state that can be read, or the one to start from; and its abstract form.

    Args:
        move_aside: rename damaged checkpoints, so that their steps can be saved again.
        first: a step to try before the newest.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    abstract = jax.eval_shape(task.init_state)
    shardings = state_shardings(mesh, abstract)
    if checkpoints.latest() is None:
        return task.start(shardings), abstract
    target = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )
    step, items = checkpoints.restore_newest(target.items(), move_aside=move_aside, first=first)
    what = "continuing from" if move_aside else "taking"
    print_on_main(f"{what} the checkpoint of step {step}")
    return TrainState.from_items(items), abstract


def train(
    task: Trainable,
    workdir: Path,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    log_every: int,
    save_every: int,
    guards: Guards = DEFAULT_GUARDS,
    judge: Judge | None = None,
    writers: str = "",
    profile: ProfileWindow | None = None,
) -> TrainState:
    """Train to the last step, continuing from the newest checkpoint.

    Args:
        log_every, save_every: in steps.
        judge: evaluates the states that it asks for. They are saved first, so that a kill in the
            middle loses nothing: the next start judges them.
        writers: where metrics go besides their file, comma-separated.
        profile: steps to trace.

    Raises:
        ConfigError: steps to trace that this run does not do.
        Interrupted: Ctrl-C or SIGTERM, after saving; the same command continues.
        NotFinite: too many skipped steps in a row; the last is kept in a bundle, see `replay`.
        SaveError: a checkpoint could not be written.
    """
    state, abstract = restore_or_init(task, mesh, checkpoints)
    start = int(state.step)
    if judge:
        checkpoints.pinned = judge.begin(start, state)
    if start >= task.total_steps:
        print_on_main(f"training is complete at step {start}")
        return state
    trace = Profile(profile, workdir, start, task.total_steps)
    step = task.step(mesh, abstract)
    print_on_main(f"memory: {task.memory(mesh, abstract)}")
    out = open_writers(writers if is_main_process() else None, workdir, start)
    log = Log(task, out, start, log_every, guards.max_skipped, mesh)
    task.prepare(state, mesh)
    batches = task.batches(start, mesh)
    compiled: set[tuple[tuple[int, ...], ...]] = set()
    vote = SyncedSignal(mesh)
    stalls = workdir / f"stalls-{jax.process_index()}.txt"
    watchdog = Watchdog(stalls, guards.stall_seconds, guards.stall_exit)
    with watchdog, StopRequests() as stop, closing(log), closing(batches), closing(trace):
        for number in range(start + 1, task.total_steps + 1):
            trace.begin(number)
            watchdog.waiting_for(f"the data of step {number}")
            waiting = time.perf_counter()
            batch = next(batches)
            arrays = to_devices(mesh, {name: batch[name] for name in task.step_inputs})
            log.window.waited += time.perf_counter() - waiting
            shapes = tuple(array.shape for array in arrays.values())
            watchdog.waiting_for(f"the devices, step {number}", compiling=shapes not in compiled)
            compiled.add(shapes)
            state, metrics = step(state, arrays)
            trace.end(number, metrics)
            try:
                log.add(number, metrics, task.step_flops(arrays["text_ids"].shape[1]))
            except TrainingDiverged as stopped:
                watchdog.waiting_for(f"the bundle of step {number}")
                stopped.bundle = replay.write_bundle(
                    workdir, state, batch, mesh, number, stopped.metrics, checkpoints
                )
                raise
            last = number == task.total_steps
            # Read once: a signal may come while the state is saved.
            asked = vote(stop.signum or 0, last=last)
            last = last or asked > 0
            due = judge.due(number) if judge else False
            if last or due or number % save_every == 0:
                watchdog.waiting_for(f"the checkpoint of step {number}")
                checkpoints.save(number, state.items())
            if last:
                checkpoints.wait()
            if asked:
                print_on_main(f"saved step {number}; the same command continues")
                raise Interrupted(asked)
            if judge and due:
                watchdog.pause()
                with log.paused():
                    log.add_scores(number, judge.judge(number, state))
                checkpoints.pinned = judge.best_step
    return state


class Log:
    """Fetches metrics one step late, so that reading them never holds up the device."""

    def __init__(
        self, task: Trainable, writers: Writers, start: int, every: int, skips: int, mesh: Mesh
    ):
        self.window = Window()
        self._skips = SkipCounter(skips)
        self._data_wait = DataWait(task.threads)
        rate = peak(mesh.devices.flat[0])
        self._peak = rate * mesh.size if rate else None
        self._task, self._writers, self._every = task, writers, every
        self._pending: tuple[int, Metrics, float | None] | None = None
        self._bar = tqdm(
            total=task.total_steps,
            initial=start,
            unit="step",
            disable=not sys.stderr.isatty() or not is_main_process(),
        )

    def add(self, number: int, metrics: Metrics, needed: float | None = None) -> None:
        """Take the metrics of step `number`, and handle those of the step before.

        Args:
            needed: floating-point operations of the step; None if they are not counted.

        Raises:
            NotFinite: too many steps in a row were skipped, up to this one.
        """
        self._flush()
        self._pending = (number, metrics, needed)
        if number == self._task.total_steps or self._skips.on_the_brink:
            self._flush()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write what is pending, and do not count the time in between."""
        self._flush()
        began = time.perf_counter()
        yield
        self.window.started += time.perf_counter() - began

    def add_scores(self, number: int, scores: dict[str, float]) -> None:
        """Take what an evaluation found."""
        self._writers.write_scores(number, scores)

    def close(self) -> None:
        """Write what is still pending."""
        try:
            self._flush()
        finally:
            self._bar.close()
            self._writers.close()

    def _flush(self) -> None:
        if self._pending is None:
            return
        number, metrics, needed = self._pending
        self._pending = None
        found = {k: float(v) for k, v in jax.device_get(metrics).items()}
        self.window.metrics.append(found)
        if self._peak and needed:
            self.window.at_peak = (self.window.at_peak or 0.0) + needed / self._peak
        self._bar.update()
        if number % self._every == 0 or number == self._task.total_steps:
            self._write(number)
        self._skips.add(number, found)

    def _write(self, number: int) -> None:
        line = self.window.summary(number, self._task.batch_size)
        self.window = Window()
        if not is_main_process():
            return
        line |= self._task.counters()
        self._writers.write(line)
        left = (self._task.total_steps - number) * self._task.batch_size
        text = human_line(line, self._task.total_steps, left / line["pairs_per_s"])
        if line.get(SKIPPED):
            text += f"  SKIPPED {line[SKIPPED]:.0f}, not finite"
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.set_postfix_str(text.split("  ", 1)[1])
        if warning := self._data_wait.seen(line["data_wait"]):
            tqdm.write(warning)
