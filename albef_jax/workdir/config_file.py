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
from albef_jax.workdir import history
from albef_jax.workdir.saved_steps import has_steps, newest_step

# Options that do not change what is learnt, and so may change when a run continues.
FREE = (
    "log.",
    "checkpoint.",
    "guards.",
    "distributed.",
    "evaluation.",
    "mesh.",
    "storage.",
    "train.xla_flags",
    "data.if_changed",
    "data.threads",
    "data.workers",
)


# Options that may change when a finished run is extended: they leave the form of its state.
EXTENDED = (
    "train.steps",
    "train.epochs",
    "train.alpha",
    "train.alpha_ramp_epochs",
    "optimizer.schedule",
    "optimizer.lr",
    "optimizer.min_lr",
    "optimizer.weight_decay",
    "optimizer.warmup_lr",
    "optimizer.warmup_periods",
    "optimizer.warmup_steps",
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


def open_workdir(path: Path, config: ConfigDict, extend: bool = False) -> Path:
    """Make `path` with its `config.json`, or check that the one in it is the same.

    A configuration left by a start that saved and evaluated nothing is replaced.

    Args:
        extend: options of `EXTENDED` may differ; the old configuration goes to `history.json`.

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
            kept = _read(file)
            compare_configs(file, kept, wanted, EXTENDED if extend else ())
            if extend and is_main_process():
                _remember(path, kept, wanted)
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


def _remember(path: Path, kept: dict, wanted: dict) -> None:
    """Note what an extension changes."""
    changed = differences(kept, wanted, FREE)
    if changed:
        until = newest_step(path)
        history.add(path, {"until_step": until, "changed": changed, "config": kept})


def differences(kept: dict, now: dict, but: tuple[str, ...] = ()) -> dict[str, list]:
    """The options that differ, each with its old and its new value.

    Args:
        kept: of a run; an option that did not exist when it began has its default.
        now: today's.
        but: beginnings of names that are left out.
    """
    kept = modernise(kept)
    task = kept.get("task")
    since = json.loads(default(task).to_json()) if task in TASKS else {}
    found, wanted = flatten(since) | flatten(kept), flatten(now)
    return {
        name: [found.get(name), wanted.get(name)]
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name) and not name.startswith(but)
    }


def compare_configs(file: Path, kept: dict, now: dict, free: tuple[str, ...] = ()) -> None:
    """Refuse a configuration that would train another model than the one in `file`.

    Args:
        free: options that may differ beside those of `FREE`.

    Raises:
        ConfigError: with the keys that differ.
    """
    different = differences(kept, now, (*FREE, *free))
    if not different:
        return
    lines = [f"  {name}: {old!r} there, {new!r} now" for name, (old, new) in different.items()]
    remedy = "choose another --workdir, or the same configuration to continue"
    if all(name in EXTENDED for name in different):
        remedy += ", or --extend to go on with this one"
    raise ConfigError("\n".join([f"{file} belongs to another configuration; {remedy}:", *lines]))
