"""What a run was before: `history.json`, an entry each time that its configuration was changed."""

import json
from pathlib import Path
from typing import Any

from albef_jax.errors import ConfigError
from albef_jax.system import atomic

FILE = "history.json"


def read(workdir: Path) -> list[dict[str, Any]]:
    """The entries, oldest first.

    Raises:
        ConfigError: the file is damaged.
    """
    file = workdir / FILE
    if not file.is_file():
        return []
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); move it away") from None


def add(workdir: Path, entry: dict[str, Any]) -> None:
    """Write one more entry."""
    text = json.dumps([*read(workdir), entry], indent=1)
    atomic.write_text(workdir / FILE, text + "\n")
