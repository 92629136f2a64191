"""Which steps a run has saved. Needs no jax."""

from pathlib import Path


def has_steps(workdir: Path) -> bool:
    """Whether a step was saved; one that is still being written has another name."""
    return newest_step(workdir) is not None


def newest_step(workdir: Path) -> int | None:
    """The number of the newest saved step; None without any."""
    kept = workdir / "checkpoints"
    if not kept.is_dir():
        return None
    return max((int(one.name) for one in kept.iterdir() if one.name.isdigit()), default=None)
