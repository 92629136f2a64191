"""Options that had other names once: typed today, an old one gives an error with the new one.

Runs that began under the old names go on: their `config.json` is read through `modernise`.
"""

import re
from typing import Any

OPTIONS = {
    "hosts.join_seconds": "distributed.join_seconds",
    "hosts.peer_seconds": "distributed.peer_seconds",
    "evaluation.pairs": "evaluation.limit",
}
REMOVED = {"data.prefetch": "two batches are always prepared ahead"}
VALUES = {
    ("data.augment", "published"): "official",
    ("optimizer.schedule", "published"): "official",
    ("init.teacher", "published"): "official",
}


def replacement(name: str, value: Any = None) -> str | None:
    """What to say of an old option, or of an old value; None for all others."""
    if name in OPTIONS:
        return f"{name} is now {OPTIONS[name]}"
    if name in REMOVED:
        return f"{name} is gone ({REMOVED[name]}); remove it"
    if isinstance(value, str) and (name, value) in VALUES:
        return f"{name}={value!r} is now {VALUES[name, value]!r}"
    return None


def old_options(section: str) -> list[str]:
    """The old options that were in a section, or are named so."""
    names = (*OPTIONS, *REMOVED)
    return [name for name in names if section in (name, name.partition(".")[0])]


def hints(message: str) -> list[str]:
    """What to say beside the error of a recipe that sets an old option, as ConfigDict words it."""
    found = re.match(r"""(?:Key )?["'](\w+)["']""", message)
    old = [name for name in (*OPTIONS, *REMOVED) if found and found[1] in name.split(".")]
    return [text for text in map(replacement, old) if text]


def modernise(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON holds it, under today's names."""
    config = {
        name: dict(value) if isinstance(value, dict) else value for name, value in config.items()
    }
    for old, new in OPTIONS.items():
        _move(config, old, new)
    for old in REMOVED:
        section, name = old.split(".")
        config.get(section, {}).pop(name, None)
    for (option, old), new in VALUES.items():
        section, name = option.split(".")
        if config.get(section, {}).get(name) == old:
            config[section][name] = new
    return config


def _move(config: dict[str, Any], old: str, new: str) -> None:
    section, name = old.split(".")
    if name not in config.get(section, {}):
        return
    value = config[section].pop(name)
    if not config[section]:
        del config[section]
    section, name = new.split(".")
    config.setdefault(section, {})[name] = value
