"""Where a run writes: its directory, or a local one that is kept in a bucket."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from albef_jax.distributed.sync import raise_on_all_processes
from albef_jax.storage.addresses import in_bucket, split
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.cache_folder import cache_folder
from albef_jax.storage.retries import StorageError
from albef_jax.workdir.lease import Lease
from albef_jax.workdir.lock import locked
from albef_jax.workdir.mirror import Mirror

_STAGED = "workdirs"


@dataclass(frozen=True)
class Place:
    """A workdir that this process may write.

    Attributes:
        path: a local directory.
        name: of the workdir as the user gave it.
        folder: in a bucket; None for a local workdir.
        mirror: copies `path` to `folder`; None for a local workdir.
    """

    path: Path
    name: str
    folder: BucketFolder | None = None
    mirror: Mirror | None = None

    def told(self, message: object) -> str:
        """A message with the name that the user knows instead of the local path."""
        return str(message).replace(str(self.path), self.name) if self.folder else str(message)

    def collect(self) -> None:
        """On the first process, get what the others have written for it; all must call it."""
        if self.mirror:
            with raise_on_all_processes(StorageError):
                self.mirror.flush()
            self.mirror.collect()

    def flush(self) -> None:
        """Write what has changed to the bucket.

        Raises:
            StorageError: the bucket cannot be written, or belongs to another run now.
        """
        if self.mirror:
            self.mirror.flush()


@contextmanager
def claimed(workdir: str, options: ConfigDict, first: bool = True) -> Iterator[Lease | None]:
    """Hold the workdir's lock.

    Args:
        workdir: a path, or an address.
        options: of `config.storage`.
        first: whether this is the first process of its job; the others need no lock.

    Raises:
        ConfigError: another run holds it, which the message names; or nothing can be written there.
    """
    if not in_bucket(workdir):
        with locked(Path(workdir), first):
            yield None
        return
    folder = BucketFolder(workdir, options.retry_seconds)
    folder.check()
    if not first:
        yield None
        return
    with Lease(folder, options.lock_seconds) as lease:
        yield lease


@contextmanager
def opened(
    workdir: str, options: ConfigDict, lease: Lease | None = None, process: int = 0
) -> Iterator[Place]:
    """The workdir, ready to be written; of one in a bucket a local copy, without checkpoints.

    Args:
        lease: what `claimed` gave.
        process: the number of this process in its job; each has a copy of its own.

    Raises:
        ConfigError: the bucket cannot be read, or no copy can be kept here.
        SaveError: the last files could not be written.
    """
    if not in_bucket(workdir):
        yield Place(Path(workdir), workdir)
        return
    folder = BucketFolder(workdir, options.retry_seconds)
    path = staging(workdir, options.cache_dir) / f"process-{process}"
    shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
    path.mkdir(parents=True)
    may_write = lease.check if lease else lambda: None
    mirror = Mirror(path, folder, options.upload_seconds, process, may_write)
    mirror.fetch()
    try:
        with mirror:
            yield Place(path, folder.address, folder, mirror)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def staging(workdir: str, cache_dir: str = "") -> Path:
    """The folder with the local copies of a workdir in a bucket."""
    return cache_folder(cache_dir) / _STAGED / "/".join(filter(None, split(workdir)))
