"""Keeps the small files of a run in a bucket as they are in its local directory.

Checkpoints are not among them: `checkpoints.bucket_steps` writes those.
"""

import fnmatch
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from albef_jax.errors import SaveError
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError
from albef_jax.workdir.appended import AppendedFile

METRICS = "metrics.jsonl"
# Not kept: steps, the lock, drafts, wandb's own copies, and tokens that are made again.
_ELSEWHERE = ("checkpoints/*", "lock", "lock/*", ".*", "*/.*", "wandb/*", "image_tokens*")
# Written, and not needed to go on: large, or named anew at each start.
_ONE_WAY = ("replay-*/checkpoints/*", "replay-*/batch-*", "profile/*", "tensorboard/*")
# Written by processes other than the first, for it to read.
_OF_OTHERS = ("bad_*samples-*.jsonl", "*/bad_*samples-*.jsonl")

_Stamp = tuple[int, int]  # time of change in ns, bytes


class Mirror:
    """Copies what changes in a directory to a bucket, in the background. A context manager.

    Args:
        local: the directory, empty or as `fetch` left it.
        folder: of the bucket.
        seconds: between two looks for changes.
        process: the number of this process in its job. The first writes all files, the others
            those that have their number.
        may_write: raises if this run may not write any more.
    """

    def __init__(
        self,
        local: Path,
        folder: BucketFolder,
        seconds: float,
        process: int = 0,
        may_write: Callable[[], None] = lambda: None,
    ):
        self._local, self._folder, self._seconds = local, folder, seconds
        self._process, self._may_write = process, may_write
        self._known: dict[str, _Stamp] = {}
        self._metrics = AppendedFile(local / METRICS, folder.folder(METRICS))
        self._busy = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True, name="mirror")

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self.flush()
        except StorageError as error:
            if kind is None:  # otherwise the first error is the one to show
                raise SaveError(
                    f"the last files of the run are not in the bucket: {error}"
                ) from None
            print(f"WARNING: {error}", file=sys.stderr, flush=True)

    def fetch(self) -> None:
        """Copy all files from the bucket into the empty local directory."""
        for name in self._folder.entries():
            needed = not (_is_elsewhere(name) or _matches(name, _ONE_WAY))
            if needed and not name.startswith(f"{METRICS}/"):
                self._download(name)
        self._metrics.fetch()

    def flush(self) -> None:
        """Write what has changed, and remove what is no longer here.

        Raises:
            StorageError: the bucket cannot be written, or belongs to another run now.
        """
        with self._busy:
            found = {name: stamp for name, stamp in self._files() if self._is_ours(name)}
            changed = [name for name, stamp in found.items() if self._known.get(name) != stamp]
            gone = [name for name in self._known if name not in found and self._is_ours(name)]
            if changed or gone:
                self._may_write()
            for name in changed:
                file = self._local / name
                if file.is_file():
                    self._folder.upload(file, name)
                    self._known[name] = found[name]
            self._folder.delete(gone)
            for name in gone:
                del self._known[name]
            if self._process == 0:
                self._metrics.upload()

    def collect(self) -> None:
        """Copy what other processes have written for the first one."""
        if self._process == 0:
            with self._busy:
                for name in self._folder.entries():
                    if _matches(name, _OF_OTHERS):
                        self._download(name)

    def _download(self, name: str) -> None:
        file = self._local / name
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._folder.download(name, file)
        except FileNotFoundError:  # removed since it was listed
            return
        self._known[name] = _stamp(file)

    def _files(self) -> Iterator[tuple[str, _Stamp]]:
        for file in sorted(self._local.rglob("*")):
            name = file.relative_to(self._local).as_posix()
            if name == METRICS or _is_elsewhere(name):
                continue
            try:
                if file.is_file():
                    yield name, _stamp(file)
            except FileNotFoundError:  # renamed since it was listed
                continue

    def _is_ours(self, name: str) -> bool:
        numbered = Path(name).stem.rpartition("-")[2] == str(self._process)
        return self._process == 0 or numbered

    def _repeat(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self.flush()
            except StorageError as error:  # tried again; the next save reports what stays
                print(f"WARNING: {error}", file=sys.stderr, flush=True)
            except OSError:  # a local file that is just being replaced
                continue


def _is_elsewhere(name: str) -> bool:
    return _matches(name, _ELSEWHERE)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _stamp(file: Path) -> _Stamp:
    about = file.stat()
    return about.st_mtime_ns, about.st_size
