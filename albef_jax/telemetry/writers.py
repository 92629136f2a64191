"""Metrics to `metrics.jsonl`, and a line a person can follow."""

import json
import math
from pathlib import Path

from albef_jax import atomic


class MetricsFile:
    """Appends one JSON object a line, strictly valid JSON (NaN becomes null)."""

    def __init__(self, path: Path):
        self._path = path

    def write(self, metrics: dict[str, float]) -> None:
        """Append and flush one line."""
        clean = {k: v if math.isfinite(v) else None for k, v in metrics.items() if v is not None}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def truncate_after(self, step: int) -> None:
        """Drop lines beyond `step`, left by a run that was stopped after its last checkpoint."""
        kept = [line for line in read_lines(self._path) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        atomic.write_text(self._path, text)


def read_lines(path: Path) -> list[dict[str, float]]:
    """All whole lines of a metrics file; none if there is no file.

    A last line cut off by a crash is dropped.
    """
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def human_line(metrics: dict[str, float], total: int, eta: float) -> str:
    """`step 120/400  loss 7.31 (itc 4.1 mlm 2.5 itm 0.67)  80 pairs/s  wait 1 %  ETA 3:10`.

    In brackets are the parts of the loss, where there are several, and the accuracy in the batch.
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
