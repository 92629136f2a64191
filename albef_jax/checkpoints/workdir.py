"""A run's directory: its configuration, written once and compared at each start."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from albef_jax import atomic
from albef_jax.config import TASKS, ConfigError, default
from albef_jax.hosts.agree import is_first

# Knobs that do not change what is learnt, and so may differ when a run goes on.
FREE = (
    "log.",
    "checkpoint.",
    "guards.",
    "hosts.",
    "evaluation.",
    "mesh.",
    "data.threads",
    "data.prefetch",
    "data.workers",
)


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def open_workdir(path: Path, config: ConfigDict) -> Path:
    """Make `path` with its `config.json`, or check that the one in it is the same.

    Raises:
        ConfigError: the directory belongs to a run with another configuration; the message names
            the keys that differ.
    """
    if is_first():  # the others see it in a moment, if the directory is shared
        path.mkdir(parents=True, exist_ok=True)
    file = path / "config.json"
    wanted = json.loads(config.to_json())
    if file.exists():
        compare(file, _read(file), wanted)
    if is_first():
        atomic.write_text(file, json.dumps(wanted, indent=2) + "\n")
    return path


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); choose another --workdir") from None


def compare(file: Path, kept: dict, now: dict) -> None:
    """Refuse a configuration that would learn something else than the one kept in `file`.

    Raises:
        ConfigError: with the keys that differ.
    """
    # A knob that did not exist when the run began has its default.
    task = kept.get("task")
    since = json.loads(default(task).to_json()) if task in TASKS else {}
    found, wanted = flatten(since) | flatten(kept), flatten(now)
    names = sorted(found.keys() | wanted.keys())
    different = [
        f"  {name}: {found.get(name)!r} there, {wanted.get(name)!r} now"
        for name in names
        if found.get(name) != wanted.get(name) and not name.startswith(FREE)
    ]
    if different:
        raise ConfigError(
            f"{file} belongs to another configuration; choose another --workdir, or the same "
            "configuration to continue:\n" + "\n".join(different)
        )
