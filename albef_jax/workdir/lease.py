"""One run at a time writes to a workdir in a bucket.

Buckets have no locks that the system releases. Here a lock is an object that only one process can
create, and that its owner writes again every few seconds. Each owner's has the next number, so
taking over from a dead one is a creation, too, and an owner sees that it was replaced.
"""

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from albef_jax.errors import ConfigError
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError

FOLDER = "lock"
_BEATS = 6  # signs of life in the time after which an owner counts as dead


class Lease:
    """The lock of a workdir in a bucket. Use as a context manager.

    Args:
        folder: the workdir.
        seconds: without a sign of life, until an owner counts as dead.

    Raises:
        ConfigError: another run holds the lock and lives; the message names it.
        StorageError: the bucket cannot be written.
    """

    def __init__(self, folder: BucketFolder, seconds: float):
        self._folder = folder.folder(FOLDER)
        self._workdir, self._seconds = folder.address, seconds
        self._owner: dict[str, Any] = {
            "owner": uuid.uuid4().hex,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "machine": _machine(),
            "started": _started(os.getpid()),
            "lock_seconds": seconds,
        }
        self._beat = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True, name="lease")
        self._name = ""

    def __enter__(self) -> "Lease":
        before = self._newest()
        if before:
            self._watch(before)
        self._name = _named(_number(before) + 1 if before else 1)
        if not self._folder.create(self._name, self._content()):
            raise self._in_use(self._read(self._name))
        self._folder.delete(name for name in self._folder.entries() if name < self._name)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if self._newest() == self._name:
                self._folder.write(self._name, self._content(ended=True))
        except StorageError:  # then it counts as dead in a while
            return

    def check(self) -> None:
        """Check that this run still holds the lock; done before anything that counts is written.

        Raises:
            StorageError: another run has taken over, because this one seemed dead.
        """
        newest = self._newest()
        if newest != self._name:
            holder = _words(self._read(newest)) if newest else "a run that removed its lock"
            raise StorageError(
                f"{self._workdir} was taken over by {holder}: this run gave no sign of life for "
                f"{self._seconds:g} s (storage.lock_seconds). It ends, and leaves the other alone"
            )

    def _live(self) -> None:
        """Writes a sign of life again and again; in a thread."""
        impatient = BucketFolder(self._folder.address, patience=self._seconds)
        while not self._ended.wait(self._seconds / _BEATS):
            self._beat += 1
            try:
                if max(impatient.children(), default="") != self._name:
                    return  # `check` reports it
                impatient.write(self._name, self._content())
            except StorageError:
                continue  # the next save reports what does not pass

    def _watch(self, name: str) -> None:
        """Wait until the owner is certainly dead; one that lives shows it soon."""
        holder = self._read(name)
        lives = _lives(holder)
        if lives:
            raise self._in_use(holder)
        if holder.get("ended") or lives is False:
            return
        seconds = max(self._seconds, holder.get("lock_seconds", 0))
        print(
            f"{self._workdir} was in use by {_words(holder)}; waiting {seconds:g} s for a sign of "
            "life",
            flush=True,
        )
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(self._seconds / _BEATS / 2, 2.0))
            now = self._read(name)
            if now.get("ended"):
                return
            if self._newest() != name or now != holder:
                raise self._in_use(now or holder)

    def _in_use(self, holder: dict[str, Any]) -> ConfigError:
        return ConfigError(
            f"{self._workdir} is in use by {_words(holder)}. Wait for its end, or choose another "
            "--workdir; to evaluate what it has saved so far, also set "
            f"--config.init.checkpoint={self._workdir} and --eval_only"
        )

    def _newest(self) -> str | None:
        return max(self._folder.children(), default=None)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self._folder.read(name))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _content(self, ended: bool = False) -> bytes:
        told = self._owner | {"beat": self._beat} | ({"ended": True} if ended else {})
        return json.dumps(told).encode()


def _named(number: int) -> str:
    return f"{number:09d}.json"


def _number(name: str) -> int:
    stem = name.partition(".")[0]
    return int(stem) if stem.isdigit() else 0


def _words(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "another process"
    return f"process {holder['pid']} on {holder.get('host')}"


def _machine() -> str | None:
    """The boot of this machine and the space of its process numbers; None if not to be had."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process of this machine began, in ticks since the boot; None if there is none."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return about.rpartition(")")[2].split()[19]  # the name before may have any letters


def _lives(holder: dict[str, Any]) -> bool | None:
    """Whether the owner runs on this machine, so that there is no need to wait.

    None if it is another machine, or if that cannot be told.
    """
    if holder.get("ended") or not holder.get("started") or holder.get("machine") != _machine():
        return None
    return _started(holder["pid"]) == holder["started"]
