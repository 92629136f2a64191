"""The settings of data in buckets, for a whole process: `config.storage` sets them.

An address keeps those that it was made with (`paths.BucketPath`), also in the processes that it is
sent to.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from albef_jax.storage.cache import Cache
from albef_jax.storage.cache_folder import cache_folder
from albef_jax.storage.retries import PATIENCE


@dataclass(frozen=True)
class Settings:
    """How data in buckets are read; the options of the same names have more.

    Attributes:
        retry_seconds: to repeat what fails for a passing reason.
        cache_dir: folder of the cache; empty for one in the user's cache.
        cache_gb: what the cache may hold, in 10^9 bytes.
    """

    retry_seconds: float = PATIENCE
    cache_dir: str = ""
    cache_gb: float = 50.0

    def folder(self) -> Path:
        """The folder of the cache, beside other copies of what lies in buckets."""
        return cache_folder(self.cache_dir) / "data"

    def cache(self) -> Cache:
        """The cache, one for all in this process that have these settings."""
        return _cache(self.folder(), self.cache_gb)


_current = Settings()


def use(settings: Settings) -> None:
    """Set what addresses that are made from now on have."""
    global _current
    _current = settings


def current() -> Settings:
    """What addresses that are made now have."""
    return _current


@lru_cache
def _cache(folder: Path, gigabytes: float) -> Cache:
    return Cache(folder, int(gigabytes * 1e9))
