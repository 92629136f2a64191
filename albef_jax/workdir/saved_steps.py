"""Whether a run has checkpoints of its own. Needs no jax."""

from pathlib import Path


def has_steps(workdir: Path) -> bool:
    """Whether a step was saved; one that is still being written has another name."""
    kept = workdir / "checkpoints"
    return kept.is_dir() and any(child.name.isdigit() for child in kept.iterdir())
