"""A step that was not finite, kept with all it needs to be run again.

A bundle is a directory: `replay.json` (what happened), `batch-PROCESS.npz` (the arrays), and, as in
a workdir, `config.json` and `checkpoints/` (the state as it was before the step).
"""

import json
import math
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import fetch
from albef_jax.distributed.sync import broadcast_from_main, is_main_process
from albef_jax.errors import CheckpointError
from albef_jax.system import atomic
from albef_jax.train.resilience.nonfinite import MODULE_NORM
from albef_jax.train.state import TrainState

RECORD = "replay.json"
MOST = 3
# Forward order; all other modules are heads. A gradient meets the last one first.
_FORWARD = ("image_encoder", "image_proj", "text_encoder", "text_proj", "pair_encoder")
_SHOWN = 8  # records of a batch that are named


@dataclass(frozen=True)
class Recorded:
    """What a bundle says of its step.

    Attributes:
        step: its number; the state has done one less.
        metrics: as the step returned them.
        batch: this process's rows.
    """

    step: int
    metrics: dict[str, float]
    batch: dict[str, np.ndarray]


def write_bundle(
    workdir: Path,
    state: TrainState,
    batch: dict[str, np.ndarray],
    mesh: Mesh,
    step: int,
    metrics: dict[str, float],
    checkpoints: Checkpoints,
) -> Path:
    """Write the bundle of `step`, which left `state` as it was.

    A run that is started again stops again, and each bundle is as large as a checkpoint: beyond
    `MOST` none is written.

    Args:
        checkpoints: of the run.

    Returns:
        The bundle, or the newest that is there.
    """
    bundle = workdir / f"replay-{step}"
    there = sorted(workdir.glob(f"replay-*/{RECORD}"), key=lambda file: file.stat().st_mtime_ns)
    known = (bundle / RECORD).exists() or len(there) >= MOST
    if broadcast_from_main(known):
        return bundle if (bundle / RECORD).exists() else there[-1].parent
    bundle.mkdir(exist_ok=True)
    arrays: dict[str, Any] = batch  # the stubs of savez take names for its own arguments
    np.savez(bundle / f"batch-{jax.process_index()}.npz", **arrays)
    with checkpoints.beside(bundle / "checkpoints") as kept:
        kept.save(step - 1, state.replace(step=state.step - 1).items())
    key = np.asarray(jax.random.key_data(state.key)).tolist()
    if is_main_process():
        if (workdir / "config.json").exists():
            shutil.copyfile(workdir / "config.json", bundle / "config.json")
        record = {
            "step": step,
            "processes": jax.process_count(),
            "mesh": dict(mesh.shape),
            "device": mesh.devices.flat[0].device_kind,
            "jax": jax.__version__,
            "key": key,
            "sample_index": np.asarray(batch["sample_index"]).tolist(),
            "metrics": {name: _json(value) for name, value in metrics.items()},
        }
        atomic.write_text(bundle / RECORD, json.dumps(record, indent=2) + "\n")
    return bundle


def _json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def read_bundle(bundle: Path) -> Recorded:
    """The record and this process's rows of the batch.

    Raises:
        CheckpointError: no bundle, a damaged one, or one of another number of processes.
    """
    try:
        record: dict[str, Any] = json.loads((bundle / RECORD).read_text("utf-8"))
        if record["processes"] != jax.process_count():
            raise CheckpointError(
                f"{bundle} is of {record['processes']} processes, this job has "
                f"{jax.process_count()}"
            )
        with np.load(bundle / f"batch-{jax.process_index()}.npz", allow_pickle=False) as arrays:
            batch = dict(arrays)
        metrics = {name: float(value) for name, value in record["metrics"].items()}
        return Recorded(int(record["step"]), metrics, batch)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{bundle}: no whole replay bundle: {error!r}") from error


def differing_metrics(recorded: dict[str, float], replayed: dict[str, float]) -> list[str]:
    """Names of the metrics that differ in any bit."""
    names = sorted(recorded.keys() | replayed.keys())
    missing = object()
    return [
        name
        for name in names
        if str(recorded.get(name, missing)) != str(replayed.get(name, missing))
    ]


def nonfinite_modules(params: dict[str, Any]) -> dict[str, int]:
    """Modules with parameters that are not finite, and how many."""
    counts = {
        name: sum(int((~np.isfinite(leaf)).sum()) for leaf in jax.tree.leaves(fetch(tree)))
        for name, tree in params.items()
    }
    return {name: count for name, count in counts.items() if count}


def first_not_finite(metrics: dict[str, float], params: dict[str, int]) -> str:
    """The first place that is not finite: parameters, else losses, else the backward pass."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if params:
        return "parameters of " + ", ".join(f"{name} ({n} values)" for name, n in params.items())
    losses = sorted(name for name in bad if name.startswith("loss_"))
    if losses or "loss" in bad:
        return " and ".join(losses) or "loss"
    modules = [name.removeprefix(MODULE_NORM) for name in bad if name.startswith(MODULE_NORM)]
    if not modules:
        return "nothing: the step is finite"
    return f"the gradient of {max(modules, key=_depth)}; losses and parameters are finite"


def _depth(module: str) -> int:
    order = (*_FORWARD, "fusion_encoder", "answer_decoder")
    return order.index(module) if module in order else len(order)


def table(recorded: Recorded, replayed: dict[str, float]) -> list[str]:
    """Losses and gradient norms side by side, and the records of the batch."""
    shown = [
        name
        for name in sorted(recorded.metrics, key=lambda name: (name.startswith("grad_norm"), name))
        if name.startswith(("loss", "grad_norm"))
    ]
    width = max(map(len, shown), default=0)
    records = [int(index) for index in recorded.batch["sample_index"][:_SHOWN]]
    return [
        f"step {recorded.step}, {len(recorded.batch['sample_index'])} records, the first are "
        f"{', '.join(map(str, records))}",
        f"{'':{width}}  {'recorded':>14}  {'replayed':>14}",
        *(
            f"{name:{width}}  {value:>14.7g}  {replayed.get(name, math.nan):>14.7g}"
            for name, value in ((name, recorded.metrics[name]) for name in shown)
        ),
    ]
