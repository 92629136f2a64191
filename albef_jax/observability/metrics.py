"""Writes metrics to `metrics.jsonl` and the destinations in `log.writers`; formats log lines."""

import json
import math
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from albef_jax.system import atomic
from albef_jax.system.optional import PackageError, needed
from albef_jax.system.terminal import as_utf8

# Names for `log.writers`, and the module that each needs; our extra has the same name.
MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


class Writer(Protocol):
    """A destination for metrics."""

    def write(self, metrics: dict[str, float]) -> None:
        """Add one line, which holds its `step`."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class MetricsFile:
    """Appends one JSON object a line, strictly valid JSON (NaN becomes null)."""

    def __init__(self, path: Path):
        self._path = path

    def write(self, metrics: dict[str, float]) -> None:
        """Append and flush one line."""
        clean = {k: v if math.isfinite(v) else None for k, v in metrics.items() if v is not None}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def close(self) -> None:
        """Nothing to do: each line is flushed."""

    def truncate_after(self, step: int) -> None:
        """Drop lines beyond `step`, left by a run that was stopped after its last checkpoint."""
        kept = [line for line in read_lines(self._path) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        atomic.write_text(self._path, text)


class TensorBoard:
    """A curve a metric, in event files under `workdir/tensorboard`.

    Args:
        start: the step that the run continues from; entries of later steps are hidden.
    """

    def __init__(self, workdir: Path, start: int):
        import tensorboardX

        purge = start + 1 if start else None
        self._writer = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=purge)

    def write(self, metrics: dict[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in metrics.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, int(metrics["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, found again by the id in `workdir/wandb_run.txt`.

    Sent steps cannot be revoked: repeated steps keep their first values.

    Args:
        sent: the last step in `metrics.jsonl`, which may lie beyond the checkpoint.
    """

    def __init__(self, workdir: Path, sent: int):
        import wandb

        file, config = workdir / "wandb_run.txt", workdir / "config.json"
        self._sent = sent if file.exists() else 0
        if not file.exists():
            atomic.write_text(file, uuid.uuid4().hex + "\n")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "albef_jax"),
            name=as_utf8(workdir.resolve().name),
            id=file.read_text("utf-8").strip(),
            resume="allow",
            dir=str(workdir),
            config=json.loads(config.read_text("utf-8")) if config.exists() else {},
        )

    def write(self, metrics: dict[str, float]) -> None:
        """Send one line, unless its step was sent before."""
        step = int(metrics["step"])
        if step > self._sent:
            self._run.log({k: v for k, v in metrics.items() if k != "step"}, step=step)

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


class Writers:
    """Fans out to several writers; a no-op except on process 0."""

    def __init__(self, writers: Sequence[Writer]):
        self._writers = writers

    def write(self, metrics: dict[str, float]) -> None:
        """Write to each."""
        for writer in self._writers:
            writer.write(metrics)

    def write_scores(self, step: int, scores: dict[str, float]) -> None:
        """Write what evaluation found after a step as `val_NAME`, to the dashboards alone.

        `metrics.jsonl` has lines of training only; scores are in `validation.jsonl`.
        """
        line = {"step": step, **{f"val_{name}": value for name, value in scores.items()}}
        for writer in self._writers:
            if not isinstance(writer, MetricsFile):
                writer.write(line)

    def close(self) -> None:
        """Close each."""
        for writer in self._writers:
            writer.close()


def names_of(option: str) -> list[str]:
    """The names in `log.writers`."""
    return [name.strip() for name in option.split(",") if name.strip()]


def problems(option: str) -> Iterator[str]:
    """One line for each name in `log.writers` that is unknown or lacks its package."""
    for name in names_of(option):
        if name not in MODULES:
            yield f"log.writers={option!r}: {name} is unknown; choose among {', '.join(MODULES)}"
            continue
        try:
            needed(MODULES[name], f"log.writers={option!r}", name)
        except PackageError as error:
            yield str(error)


def open_writers(option: str | None, workdir: Path, start: int) -> Writers:
    """`metrics.jsonl` and the destinations in `log.writers`, continued after step `start`.

    Args:
        option: None for a process that writes nothing.
    """
    if option is None:
        return Writers([])
    path = workdir / "metrics.jsonl"
    lines = read_lines(path)
    sent = int(lines[-1]["step"]) if lines else 0
    file = MetricsFile(path)
    file.truncate_after(start)
    writers: list[Writer] = [file]
    names = names_of(option)
    if "tensorboard" in names:
        writers.append(TensorBoard(workdir, start))
    if "wandb" in names:
        writers.append(WeightsAndBiases(workdir, sent))
    return Writers(writers)


def read_lines(path: Path) -> list[dict[str, float]]:
    """All whole lines of a metrics file; none if there is no file.

    A last line cut off by a crash is dropped.
    """
    return parse_lines(path.read_text(encoding="utf-8")) if path.exists() else []


def parse_lines(text: str) -> list[dict[str, float]]:
    """The whole lines of a metrics file's content."""
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def human_line(metrics: dict[str, float], total: int, eta: float) -> str:
    """`step 120/400  loss 7.31 (itc 4.1 mlm 2.5 itm 0.67)  80 pairs/s  wait 1 %  ETA 3:10`.

    The brackets hold the terms of the loss, if there are several, and the accuracy in the batch.
    """
    minutes, seconds = divmod(int(eta), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    parts = [
        f"{name} {metrics[f'loss_{name}']:.3f}"
        for name in ("itc", "mlm", "itm")
        if f"loss_{name}" in metrics
    ]
    if "accuracy" in metrics:
        parts.append(f"accuracy {metrics['accuracy']:.2f}")
    mfu = f"  mfu {100 * metrics['mfu']:.0f} %" if "mfu" in metrics else ""
    inside = f" ({' '.join(parts)})" if parts else ""
    return (
        f"step {metrics['step']}/{total}  loss {metrics['loss']:.3f}{inside}"
        f"  {metrics['pairs_per_s']:.0f} pairs/s{mfu}  wait {100 * metrics['data_wait']:.0f} %"
        f"  ETA {clock}"
    )
