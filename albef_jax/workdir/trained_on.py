"""A run's `trained_on.json`: a fingerprint of its training data, compared at continuation.

A replaced list changes the order and the length of an epoch, and so the schedule; a run on two
different data sets is no result.
"""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from albef_jax.data.fingerprint import different, stamps
from albef_jax.data.training_files import training, vocabulary
from albef_jax.errors import ConfigError
from albef_jax.system import atomic
from albef_jax.workdir.saved_steps import has_steps

NAME = "trained_on.json"
_VERSION = 1
_PARTS = ("vocabulary", "training")


def check_data(workdir: Path, config: ConfigDict, source: Any, *, eval_only: bool) -> list[str]:
    """Write `trained_on.json`, or compare the data of a continued run with it.

    A run without the file, from an earlier version, gets one.

    Args:
        source: the training records, opened; ignored with `eval_only`, which compares the
            vocabulary alone and writes nothing.

    Returns:
        One line for each difference that `data.if_changed` accepts.

    Raises:
        ConfigError: something differs; the message names the files.
    """
    file = workdir / NAME
    before = _read(file)
    parts = _PARTS[:1] if eval_only else _PARTS
    known = {name: stamp for part in _PARTS for name, stamp in before.get(part, {}).items()}
    now: dict[str, Any] = {"version": _VERSION}
    now["vocabulary"] = stamps(*vocabulary(config), known)
    if not eval_only:
        now["training"] = stamps(*training(config, source), known)
        now["items"] = len(source)
    found = _differences(before, now, parts) if before and has_steps(workdir) else []
    if found and config.data.if_changed == "refuse":
        raise ConfigError(
            "\n  ".join([f"{workdir} was trained on other data than there are now:", *found])
            + "\nBring them back, choose another --workdir, or continue nevertheless with "
            "--config.data.if_changed=accept"
        )
    if not eval_only:
        atomic.write_text(file, json.dumps(now, indent=1) + "\n")
    return found


def _differences(before: dict, now: dict, parts: tuple[str, ...]) -> list[str]:
    found = []
    if "items" in now and before.get("items") != now["items"]:
        found.append(f"items: {before.get('items')} before, {now['items']} now")
    for part in parts:
        found += different(before.get(part, {}), now[part])
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise ConfigError(
            f"{file}: damaged, or of a newer version; move it away to go on without comparing data"
        )
    return found
