"""The saved steps of a run in a bucket: `checkpoints/STEP/...`.

A step counts once its list of checksums, the seal, is there; it is written last and removed first.
"""

import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from albef_jax.checkpoints.integrity import NAME as SEAL
from albef_jax.errors import SaveError
from albef_jax.storage.bucket import BucketFolder

FOLDER = "checkpoints"
_AT_ONCE = 8  # files


class BucketSteps:
    """Steps that are written from, and read into, a local directory.

    Args:
        workdir: of the run.
        before_seal: called before a step counts. Writes what must be there before it, and raises
            if this run may not write any more.
    """

    def __init__(self, workdir: BucketFolder, before_seal: Callable[[], None] = lambda: None):
        self._folder = workdir.folder(FOLDER)
        self._before_seal = before_seal

    @property
    def address(self) -> str:
        """Where they are."""
        return self._folder.address

    def sealed(self) -> list[int]:
        """The steps that count, in order."""
        return sorted(int(step) for step, names in self._steps().items() if SEAL in names)

    def upload(self, step: int, written: Path) -> None:
        """Write a step from a local directory that holds all of it, with its seal.

        Raises:
            SaveError: not all arrived.
            StorageError: the bucket cannot be written, or belongs to another run now.
        """
        target = self._folder.folder(str(step))
        self._delete(str(step))
        files = {file.relative_to(written).as_posix(): file for file in _files(written)}
        _in_parallel(lambda name: target.upload(files[name], name), files.keys() - {SEAL})
        there = target.entries()
        for name in files.keys() - {SEAL}:
            size = there[name].size if name in there else None
            if size != files[name].stat().st_size:
                raise SaveError(f"{target.address_of(name)} has {size} bytes after its upload")
        self._before_seal()
        target.upload(files[SEAL], SEAL)

    def keep(self, steps: Iterable[int]) -> None:
        """Remove the sealed steps that are not among `steps`."""
        for step in set(self.sealed()).difference(steps):
            self._delete(str(step))

    def fetch(self, step: int, directory: Path) -> None:
        """Copy a step to `directory/STEP`, damaged or not; checksums are compared by the reader."""
        source = self._folder.folder(str(step))
        draft = directory / f".{step}.fetched"
        shutil.rmtree(draft, ignore_errors=True)
        names = list(source.entries())
        for folder in {(draft / name).parent for name in names}:
            folder.mkdir(parents=True, exist_ok=True)
        _in_parallel(lambda name: _download(source, name, draft / name), names)
        shutil.rmtree(directory / str(step), ignore_errors=True)
        draft.rename(directory / str(step))

    def move_aside(self, step: int) -> str:
        """Copy a step to a name that does not count, and remove it; the seal goes first.

        Returns:
            The address under which it is kept.
        """
        there = self._folder.children()
        name, number = f"broken-{step}", 1
        while name in there:
            number += 1
            name = f"broken-{step}.{number}"
        names = self._folder.entries(str(step))
        for one in names:
            self._folder.copy(one, name + one.removeprefix(str(step)))
        self._delete(str(step))
        return self._folder.address_of(name)

    def remove_unsealed(self) -> None:
        """Remove what is left of saves, or of removals, that were broken off."""
        for step, names in self._steps().items():
            if SEAL not in names:
                print(
                    f"WARNING: {self._folder.address_of(step)} was not saved to its end; it is "
                    "removed",
                    file=sys.stderr,
                    flush=True,
                )
                self._delete(step)

    def fetch_newest(self, directory: Path) -> int | None:
        """Copy the newest sealed step, so that the directory looks as if it had been saved there.

        Returns:
            The step, or None without any.
        """
        newest = max(self.sealed(), default=None)
        if newest is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self.fetch(newest, directory)
        return newest

    def _steps(self) -> dict[str, list[str]]:
        """The names in each folder that has a number."""
        found: dict[str, list[str]] = {}
        for name in self._folder.entries():
            step, _, rest = name.partition("/")
            if step.isdigit():
                found.setdefault(step, []).append(rest)
        return found

    def _delete(self, step: str) -> None:
        names = list(self._folder.entries(step))
        self._folder.delete([f"{step}/{SEAL}"] if f"{step}/{SEAL}" in names else [])
        _in_parallel(lambda name: self._folder.delete([name]), names)


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]


def _in_parallel(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="bucket") as pool:
        list(pool.map(action, names))


def _download(source: BucketFolder, name: str, file: Path) -> None:
    try:
        source.download(name, file)
    except FileNotFoundError:  # its absence is damage, which the reader names
        return
