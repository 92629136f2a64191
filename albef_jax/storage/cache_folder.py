"""Where copies of what lies in buckets are kept on this machine."""

import tempfile
from pathlib import Path

from albef_jax.system.user_cache import user_cache


def cache_folder(given: str = "") -> Path:
    """The folder of `storage.cache_dir`, or the user's cache, or one for temporary files."""
    return Path(given) if given else user_cache() or Path(tempfile.gettempdir()) / "albef_jax"
