"""What evaluation while training found: `validation.jsonl`, a line a step that was judged.

Written anew as a whole each time, so a kill leaves the file of before.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from albef_jax.errors import ConfigError
from albef_jax.system import atomic

FILE = "validation.jsonl"


@dataclass(frozen=True)
class Judged:
    """The scores of one step.

    Attributes:
        step: updates before it was judged.
        epoch: the same in epochs.
        scores: by name; None for one that is not finite.
    """

    step: int
    epoch: float
    scores: dict[str, float | None]


def read(workdir: Path, up_to: int | None = None) -> list[Judged]:
    """The steps that were judged, in order.

    Args:
        up_to: leave out later ones. A run that falls back to an older checkpoint judges them again.

    Raises:
        ConfigError: the file is damaged.
    """
    file = workdir / FILE
    if not file.is_file():
        return []
    try:
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        found = [Judged(**line) for line in lines]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file}: damaged ({error!r}); move it away to judge anew") from error
    return [one for one in found if up_to is None or one.step <= up_to]


def write(workdir: Path, judged: Iterable[Judged]) -> None:
    """Write all steps that were judged."""
    lines = [json.dumps(asdict(one)) + "\n" for one in judged]
    atomic.write_text(workdir / FILE, "".join(lines))


def finite(scores: dict[str, float]) -> dict[str, float | None]:
    """The scores as JSON has them."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def best(judged: list[Judged], score: str) -> Judged | None:
    """The step with the highest score; of equal ones the earliest.

    None without steps, or if no step has that score as a finite number.
    """
    known = [one for one in judged if one.scores.get(score) is not None]
    return max(known, key=lambda one: (one.scores[score], -one.step), default=None)


def best_step(workdir: Path) -> int | None:
    """The step that a run has chosen; None if it chooses none, or has not judged any yet.

    Raises:
        ConfigError: `validation.jsonl` is damaged.
    """
    try:
        config = json.loads((workdir / "config.json").read_bytes())
        score = config["checkpoint"]["best"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = best(read(workdir), score) if score else None
    return found.step if found else None
