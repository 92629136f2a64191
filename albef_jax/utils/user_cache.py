"""Where things may be kept for the next run; everything works without it."""

import os
from pathlib import Path


def user_cache() -> Path | None:
    """The package's part of the user's cache; None where the user has no home, as in containers."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "albef_jax"
    try:
        return Path.home() / ".cache" / "albef_jax"
    except RuntimeError:  # neither HOME nor an entry in the password file
        return None
