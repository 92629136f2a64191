"""The user's cache directory; everything works without it."""

import os
from pathlib import Path


def user_cache() -> Path | None:
    """The package's cache directory; None if the user has no home, as in containers."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "albef_jax"
    try:
        return Path.home() / ".cache" / "albef_jax"
    except RuntimeError:  # neither HOME nor an entry in the password file
        return None
