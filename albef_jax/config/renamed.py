"""Renamed options: using an old name is an error that gives the new one.

Runs started under old names still continue: their `config.json` is read through `modernise`.
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
    """The message for an old option or an old value; None for all others."""
    if name in OPTIONS:
        return f"{name} is now {OPTIONS[name]}"
    if name in REMOVED:
        return f"{name} is gone ({REMOVED[name]}); remove it"
    if isinstance(value, str) and (name, value) in VALUES:
        return f"{name}={value!r} is now {VALUES[name, value]!r}"
    return None


def old_options(section: str) -> list[str]:
    """The old options with this name, or in this section."""
    names = (*OPTIONS, *REMOVED)
    return [name for name in names if section in (name, name.partition(".")[0])]


def hints(message: str) -> list[str]:
    """Hints to add to ConfigDict's error message when a recipe sets an old option."""
    found = re.match(r"""(?:Key )?["'](\w+)["']""", message)
    old = [name for name in (*OPTIONS, *REMOVED) if found and found[1] in name.split(".")]
    return [text for text in map(replacement, old) if text]


def modernise(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration read from JSON, under the current names."""
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
