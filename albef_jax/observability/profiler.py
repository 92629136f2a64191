"""Traces some training steps, to show where their time goes."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from albef_jax.errors import ConfigError
from albef_jax.observability.profile_window import ProfileWindow


class Profile:
    """Traces the steps of a span into `workdir/profile`, on the first process.

    Args:
        start, total: the run does steps `start + 1` to `total`.

    Raises:
        ConfigError: it does not do all steps of the span.
    """

    def __init__(self, span: ProfileWindow | None, workdir: Path, start: int, total: int):
        if span and not start < span.first <= span.last <= total:
            raise ConfigError(
                f"--profile={span.first}:{span.steps}: steps {span.first} to {span.last} are not "
                f"all ahead; this run does steps {start + 1} to {total}"
            )
        self._span = span if jax.process_index() == 0 else None
        self._directory = workdir / "profile"
        self._step = ExitStack()  # the current step's annotation
        self._tracing = False

    def begin(self, number: int) -> None:
        """Called before step `number` takes its data."""
        if not self._span or not self._span.first <= number <= self._span.last:
            return
        if not self._tracing:
            self._tracing = True
            # Perfetto's file opens in a browser; the other needs xprof.
            jax.profiler.start_trace(str(self._directory), create_perfetto_trace=True)
        annotation: Any = jax.profiler.StepTraceAnnotation("train", step_num=number)
        self._step.enter_context(annotation)

    def end(self, number: int, results: Any) -> None:
        """Called after step `number` was dispatched; the devices will compute `results`."""
        self._step.close()
        if self._tracing and self._span and number == self._span.last:
            jax.block_until_ready(results)  # otherwise the trace would lack pending work
            self.close()

    def close(self) -> None:
        """Write the trace, and print its path."""
        self._step.close()
        if self._tracing:
            self._tracing, self._span = False, None
            jax.profiler.stop_trace()
            print(f"profile: {self._directory}", flush=True)
