"""Reads and writes files with the official names, `.pth` and `.safetensors`.

Official files hold weights alone. Ours also hold the configuration and the step: a `.pth` as
entries beside `model`, a `.safetensors` in its metadata. Both are optional and inert.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from albef_jax.checkpoints.official.name_table import TABLES
from albef_jax.checkpoints.official.state_dict import plain_names
from albef_jax.checkpoints.torch_format import reader, writer
from albef_jax.errors import CheckpointError

WEIGHTS = "model.safetensors"  # of a release
_OURS = "albef_jax"  # the key of our configuration, as JSON


@dataclass(frozen=True)
class OfficialFile:
    """A state dict, with the run's `config.json` and step if the file has them.

    Attributes:
        notes: remarks on the file for the user, a line each.
    """

    state: dict[str, np.ndarray]
    config: dict[str, Any] | None = None
    step: int | None = None
    notes: tuple[str, ...] = ()


def read_weights(path: Path) -> OfficialFile:
    """A `.safetensors` file, or a `.pth` under any other name.

    Raises:
        CheckpointError: damaged, or neither of them.
    """
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
        digits = metadata.get("step", "")
        step = int(digits) if digits.isdecimal() else None
        return OfficialFile(plain_names(state), _config(metadata.get(_OURS)), step)
    found = reader.read_model(path)
    try:
        state = plain_names(found.state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    config, number = found.beside.get("config"), found.beside.get("step")
    return OfficialFile(
        state,
        _config(config.get(_OURS)) if isinstance(config, dict) else None,
        number if type(number) is int and number >= 0 else None,
        found.notes(),
    )


def write_weights(path: Path, file: OfficialFile, form: str) -> None:
    """Write `file` as `form`: `.safetensors` or `.pth`.

    A `.pth` has epoch 0 for the official code, which reads the entry when it resumes.
    """
    text = json.dumps(file.config or {})
    if form == ".safetensors":
        arrays = {name: np.asarray(array, order="C") for name, array in file.state.items()}
        step = {} if file.step is None else {"step": str(file.step)}
        safetensors.numpy.save_file(arrays, path, {"format": "pt", _OURS: text} | step)
        path.chmod(0o644)  # the library makes it readable for the owner alone
        return
    beside: dict[str, writer.Plain] = {"config": {_OURS: text}, "epoch": 0}
    beside |= {} if file.step is None else {"step": file.step}
    writer.write_pth(path, file.state, beside)


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        return safetensors.numpy.load_file(path), metadata
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error


def _config(text: object) -> dict[str, Any] | None:
    """A configuration of ours, or None for anything else."""
    try:
        config = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) and config.get("task") in TABLES else None
