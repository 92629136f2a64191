"""Output folders, also in a bucket: what goes there is written on this machine, then sent."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.paths import AnyPath, BucketPath, below, path_of
from albef_jax.system.atomic import write_bytes
from albef_jax.system.output_paths import check_folder

_AT_ONCE = 16  # requests


class Staged:
    """A folder to write in, and the folder in a bucket that it stands for, if it does.

    Args:
        target: where the files are in the end.
        here: the folder to write in; `target` itself if that is a path.
    """

    def __init__(self, target: AnyPath, here: Path):
        self.target, self.here = target, here
        self._known: set[str] = set()  # names that were fetched or sent

    def fetch(self, *large: str) -> None:
        """Bring what is in the bucket here.

        Args:
            large: endings of files of which only the sizes matter: an empty file of that size,
                which takes no space, stands for each.
        """
        if not isinstance(self.target, BucketPath):
            return

        def fetch_one(path: BucketPath) -> None:
            name = below(self.target, path)
            self._known.add(name)
            copy = self.here / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in large:
                _stand_in(copy, path.stat().st_size)
            else:
                copy.write_bytes(path.read_bytes())

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(fetch_one, self.target.walk_files()))

    def send(self, *files: Path, drop: bool = False) -> None:
        """Send files to the bucket, one after the other.

        Args:
            drop: keep only stand-ins here, see `fetch`.
        """
        if not isinstance(self.target, BucketPath):
            return
        for file in files:
            name = below(self.here, file)
            (self.target / name).upload(file)
            self._known.add(name)
            if drop:
                size = file.stat().st_size
                file.unlink()
                _stand_in(file, size)

    def remove_gone(self) -> None:
        """Remove from the bucket what was fetched or sent, and is here no more."""
        if not isinstance(self.target, BucketPath):
            return
        gone = [self.target / name for name in self._known if not (self.here / name).exists()]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(BucketPath.unlink, gone))

    def told(self, message: object) -> str:
        """A message with the names of files as they are in the end."""
        return str(message).replace(str(self.here), str(self.target))


@contextmanager
def staged(target: str | AnyPath) -> Iterator[Staged]:
    """A folder to write in, which is temporary if `target` is in a bucket."""
    target = path_of(target)
    if not isinstance(target, BucketPath):
        yield Staged(target, target)
        return
    with tempfile.TemporaryDirectory(prefix="albef_jax-out-") as name:
        yield Staged(target, Path(name))


def check_out(target: AnyPath, option: str) -> None:
    """Check a folder that will be written to; it may not exist yet.

    Raises:
        CannotWrite: a path that is a file or read-only.
        StorageError: there is no such bucket, or no access to it.
    """
    if isinstance(target, BucketPath):
        BucketFolder(str(target)).check()
    else:
        check_folder(target, option)


def write_whole(path: AnyPath, content: bytes) -> None:
    """Write a file or an object, which appears as a whole."""
    if isinstance(path, BucketPath):
        path.write_bytes(content)
    else:
        write_bytes(path, content)


def _stand_in(file: Path, size: int) -> None:
    with file.open("wb") as made:
        made.truncate(size)
