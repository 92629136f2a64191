"""The golden checkpoints of `tests/golden/tiny`, one of each task."""

from functools import cache
from pathlib import Path

import numpy as np

from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.torch_format import reader

TINY = Path(__file__).parents[1] / "golden" / "tiny"
FILES = {
    "pretrain": "pretrain",
    "retrieval": "retrieval",
    "entailment": "ve",
    "vqa": "vqa",
    "nlvr": "nlvr",
    "nlvr_pretrain": "pretrain_nlvr",
}


def golden(task: str) -> Path:
    return TINY / f"{FILES[task]}.pth"


@cache
def saved(task: str) -> dict[str, np.ndarray]:
    """What the file holds, by the official names."""
    return reader.read_state_dict(golden(task))


@cache
def official(task: str) -> state_dict.Official:
    return state_dict.from_official(saved(task), task=task)
