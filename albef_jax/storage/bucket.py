"""A folder in a bucket: small objects, files up and down, listings, and writes with a condition.

Each object appears as a whole or not at all; nothing is renamed or appended to.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albef_jax.storage import addresses
from albef_jax.storage.ranges import read_range
from albef_jax.storage.retries import PATIENCE, Result, StorageError, reason, retried
from albef_jax.system.optional import needed

_CONNECT, _READ = 10, 60  # seconds
_CONNECTIONS = 32


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        size: in bytes.
        version: another one each time that the object is written.
    """

    size: int
    version: str


class BucketFolder:
    """A folder of a bucket. Names are relative to it, with `/` between their parts.

    May be used by several threads, pickled, and used on after a fork.

    Args:
        address: `gs://BUCKET/KEY` or `s3://BUCKET/KEY`; the key may be empty.
        patience: seconds to try again, see `retries.retried`.

    Raises:
        ValueError: no address.
    """

    def __init__(self, address: str, patience: float = PATIENCE):
        self.protocol, self._bucket, self._key = addresses.split(address)
        self.address = "/".join(filter(None, [f"{self.protocol}://{self._bucket}", self._key]))
        self.patience = patience
        self._client: tuple[int, Any] | None = None

    def __repr__(self) -> str:
        return f"BucketFolder({self.address!r})"

    def __str__(self) -> str:
        return self.address

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client": None}

    def folder(self, name: str) -> "BucketFolder":
        """A folder in this one."""
        inner = BucketFolder(addresses.join(self.address, name), self.patience)
        inner._client = self._client
        return inner

    def address_of(self, name: str) -> str:
        """The whole address of an object."""
        return addresses.join(self.address, name)

    def check(self) -> None:
        """Check that the bucket is there and can be listed.

        Raises:
            StorageError: it is not, or cannot.
        """
        try:
            self._try(lambda fs: fs.ls(self._bucket, refresh=True), "")
        except FileNotFoundError:
            if self.protocol == "gs":  # an empty bucket has nothing to list, either
                exists = self._try(lambda fs: fs.exists(f"{self._bucket}/"), "")
                if exists:
                    return
            raise StorageError(
                f"{self.address}: there is no bucket {self._bucket}; make it, or correct the name"
            ) from None

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """The content of an object, or its bytes from `start` to before `stop`.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: no access, or no answer for long.
        """
        path = self._path(name)
        if start == 0 and stop is None:
            return self._try(lambda fs: fs.cat_file(path), name)
        return self._try(lambda fs: fs.cat_file(path, start=start, end=stop), name)

    def read_version(self, name: str, start: int, stop: int, version: str) -> bytes:
        """The bytes of an object from `start` to before `stop`, if it is of this version.

        Raises:
            FileNotFoundError: there is no such object; or, as `Replaced`, it was written again.
            StorageError: no access, or no answer for long.
        """
        bucket, key = self._bucket, self._path(name).partition("/")[2]
        return self._try(lambda fs: read_range(fs, bucket, key, start, stop, version), name)

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of one that is there."""
        self._write(lambda fs: fs.pipe_file(self._path(name), content), name)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless it is there; of several who try at once, one succeeds.

        Returns:
            Whether the object was written by this call.
        """

        def attempt(fs: Any) -> bool:
            try:
                fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                # Perhaps by an attempt of ours whose answer was lost.
                return fs.cat_file(self._path(name)) == content
            return True

        return self._write(attempt, name)

    def upload(self, file: Path, name: str) -> None:
        """Write an object with the content of a file."""
        self._write(lambda fs: fs.put_file(str(file), self._path(name)), name)

    def download(self, name: str, file: Path) -> None:
        """Write the content of an object to a file, whose folder must be there.

        Raises:
            FileNotFoundError: there is no such object.
        """
        draft = file.with_name(f".{file.name}.{os.getpid()}.new")
        try:
            self._try(lambda fs: fs.get_file(self._path(name), str(draft)), name)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    def entries(self, name: str = "") -> dict[str, Entry]:
        """All objects below a folder, by name relative to this folder; none if it is missing."""
        path = self._path(name)

        def attempt(fs: Any) -> dict[str, Any]:
            try:
                return fs.find(path, detail=True)
            except FileNotFoundError:
                return {}

        cut = len(self._path("").rstrip("/")) + 1
        found = self._try(attempt, name)
        return {
            whole[cut:]: _entry(about)
            for whole, about in sorted(found.items())
            # The folder itself may be an object, made by a web page.
            if whole.startswith(f"{path.rstrip('/')}/") and not whole.endswith("/")
        }

    def entry(self, name: str) -> Entry | None:
        """What the storage knows of one object; None if there is none."""

        def attempt(fs: Any) -> Entry | None:
            try:
                about = fs.info(self._path(name))
            except FileNotFoundError:
                return None
            return None if about["type"] == "directory" else _entry(about)

        return self._try(attempt, name)

    def children(self, name: str = "") -> list[str]:
        """The names of objects and folders right in a folder, sorted."""

        def attempt(fs: Any) -> list[str]:
            try:
                return fs.ls(self._path(name), detail=False, refresh=True)
            except FileNotFoundError:
                return []

        found = {path.rstrip("/").rpartition("/")[2] for path in self._try(attempt, name)}
        return sorted(found - {"", self._path(name).rstrip("/").rpartition("/")[2]})

    def is_folder(self, name: str = "") -> bool:
        """Whether there are objects below a name, and none of exactly that name."""

        def attempt(fs: Any) -> bool:
            try:
                return fs.info(self._path(name))["type"] == "directory"
            except FileNotFoundError:
                return False

        return self._try(attempt, name)

    def listed(self, name: str = "") -> dict[str, Entry | None]:
        """What is right in a folder, by name in it: objects, and None for folders."""
        path = self._path(name)

        def attempt(fs: Any) -> list[dict[str, Any]]:
            try:
                return fs.ls(path, detail=True, refresh=True)
            except FileNotFoundError:
                return []

        found = {one["name"].rstrip("/"): one for one in self._try(attempt, name)}
        return {
            whole.rpartition("/")[2]: None if about["type"] == "directory" else _entry(about)
            for whole, about in sorted(found.items())
            if whole != path.rstrip("/")
        }

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are ignored."""
        for name in names:

            def attempt(fs: Any, path: str = self._path(name)) -> None:
                with contextlib.suppress(FileNotFoundError):
                    fs.rm_file(path)

            self._try(attempt, name)

    def copy(self, name: str, target: str) -> None:
        """Copy an object inside the bucket, without its passing through this machine."""
        self._try(lambda fs: fs.cp_file(self._path(name), self._path(target)), name)

    def _write(self, action: Callable[[Any], Result], name: str) -> Result:
        try:
            return self._try(action, name)
        except FileNotFoundError as error:
            raise StorageError(
                f"{self.address_of(name)} cannot be written ({reason(error)}): is there a bucket "
                f"{self._bucket}?"
            ) from error

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._bucket, self._key, name.strip("/")) if part)

    def _try(self, action: Callable[[Any], Result], name: str) -> Result:
        client = self._connected()
        return retried(lambda: action(client), self.address_of(name), self.patience)

    def _connected(self) -> Any:
        """A client of this process: clients do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            self._client = os.getpid(), connect(self.protocol)
        return self._client[1]


def connect(protocol: str) -> Any:
    """An fsspec file system for `gs` or `s3`. Its listings are never cached.

    Endpoints other than those of Google and Amazon are given by the variables of the clients:
    `STORAGE_EMULATOR_HOST`, and `AWS_ENDPOINT_URL`.

    Raises:
        StorageError: the package is not installed, or finds no credentials.
    """
    extra, package = addresses.PROTOCOLS[protocol]
    module = needed(package, f"{protocol}://", extra, raises=StorageError)
    shared: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol == "s3":
        timeouts = {"connect_timeout": _CONNECT, "read_timeout": _READ}
        once = {"retries": {"max_attempts": 1}, "max_pool_connections": _CONNECTIONS}
        client = module.S3FileSystem(config_kwargs={**timeouts, **once}, **shared)
        client.retries = 2  # `retried` repeats it for longer
        return client
    # It logs each error with a traceback; `retried` tells them in a line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    token = {"token": "anon"} if os.environ.get("STORAGE_EMULATOR_HOST") else {}
    core = needed("gcsfs.core", "gs://", extra, package, raises=StorageError)
    return retried(lambda: core.GCSFileSystem(timeout=_READ, **token, **shared), "gs://", 60)


def _entry(about: dict[str, Any]) -> Entry:
    version = about.get("generation") or about.get("ETag") or about.get("etag") or ""
    return Entry(int(about["size"]), str(version).strip('"'))
