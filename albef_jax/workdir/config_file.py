"""A run's configuration, kept in its directory and compared at each start."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from albef_jax.config.defaults import default
from albef_jax.config.renamed import modernise
from albef_jax.config.tasks import TASKS
from albef_jax.distributed.sync import is_main_process
from albef_jax.errors import ConfigError
from albef_jax.system import atomic
from albef_jax.workdir.saved_steps import has_steps

# Options that do not change what is learnt, and so may change when a run continues.
FREE = (
    "log.",
    "checkpoint.",
    "guards.",
    "distributed.",
    "evaluation.",
    "mesh.",
    "train.xla_flags",
    "data.if_changed",
    "data.threads",
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

    A configuration left by a start that saved and evaluated nothing is replaced.

    Raises:
        ConfigError: the directory belongs to a run with another configuration; the message names
            the keys that differ.
    """
    if is_main_process():  # the others see it in a moment, if the directory is shared
        path.mkdir(parents=True, exist_ok=True)
    file = path / "config.json"
    wanted = json.loads(config.to_json())
    if _has_result(path):
        if file.exists():
            compare_configs(file, _read(file), wanted)
    elif is_main_process():
        _set_aside(path, wanted)
    if is_main_process():
        atomic.write_text(file, json.dumps(wanted, indent=2) + "\n")
    return path


def kept_values(path: Path, options: Iterable[str]) -> dict[str, Any]:
    """What a run that goes on began with; nothing for one that begins.

    Args:
        options: dotted names.

    Raises:
        ConfigError: `config.json` cannot be read.
    """
    file = path / "config.json"
    if not (_has_result(path) and file.exists()):
        return {}
    found = flatten(modernise(_read(file)))
    return {option: found[option] for option in options if option in found}


def _has_result(path: Path) -> bool:
    return has_steps(path) or (path / "results.json").exists()


def _set_aside(path: Path, wanted: dict) -> None:
    """Rename the bad samples of an abandoned start, which would count against other data."""
    try:
        compare_configs(path / "config.json", _read(path / "config.json"), wanted)
    except (ConfigError, OSError):
        for noted in (*path.glob("bad_*samples*.jsonl"), *path.glob("wandb_run.txt")):
            noted.replace(noted.with_name(f"{noted.name}.before"))


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); choose another --workdir") from None


def compare_configs(file: Path, kept: dict, now: dict) -> None:
    """Refuse a configuration that would train another model than the one in `file`.

    Raises:
        ConfigError: with the keys that differ.
    """
    # An option that did not exist when the run began has its default.
    kept = modernise(kept)
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
