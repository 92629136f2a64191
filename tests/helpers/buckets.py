"""Real object stores on loopback: S3 (Moto) and GCS (gcp-storage-emulator), each behind a proxy.

The fixture `bucket` gives a test an empty folder in a bucket of either kind, and sets what a client
needs: in this process, and in those that the test starts, which inherit it.

- S3: `AWS_ENDPOINT_URL`, a key and a region.
- GCS: `STORAGE_EMULATOR_HOST`. `FSSPEC_GS` says that there are no credentials: else gcsfs asks
  Google for some. `GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false`: else gcsfs asks by gRPC, which no
  emulator speaks, for the type of the bucket, and warns that there is no answer. Both are read when
  fsspec and gcsfs are imported; in this process, `told_in_process` tells those imported already.

Where Moto, the emulator or a client is not installed, tests that ask for a bucket are skipped.
"""

import importlib.util
import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.helpers.faulty_proxy import FaultyProxy
from tests.helpers.processes import ROOT

BUCKET = "bucket"
NEEDS = {"s3": ("moto", "s3fs"), "gs": ("gcp_storage_emulator", "gcsfs")}
MODULES = {"s3": "tests.helpers.s3_server", "gs": "tests.helpers.gcs_server"}
KEY = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Store:
    """A server of one kind, `s3` or `gs`, with an empty bucket, and the proxy before it."""

    kind: str
    port: int
    proxy: FaultyProxy

    @property
    def environment(self) -> dict[str, str]:
        """What makes any client go to the proxy."""
        return client_environment(self.kind, self.proxy.address)

    def filesystem(self, **options: Any) -> Any:
        """fsspec's, straight to the server: to look at what is really there."""
        direct = f"http://127.0.0.1:{self.port}"
        if self.kind == "s3":
            from s3fs import S3FileSystem

            key = {"key": KEY["AWS_ACCESS_KEY_ID"], "secret": KEY["AWS_SECRET_ACCESS_KEY"]}
            made = {"endpoint_url": direct, "use_listings_cache": False, **key}
            return S3FileSystem(skip_instance_cache=True, **made | options)
        from gcsfs.core import GCSFileSystem

        made = {"endpoint_url": direct, "use_listings_cache": False, "token": "anon"}
        return GCSFileSystem(skip_instance_cache=True, **made | options)


@dataclass(frozen=True)
class Bucket:
    """A folder of a store's bucket for one test: `address` is `gs://bucket/number`, say."""

    store: Store
    address: str

    @property
    def kind(self) -> str:
        return self.store.kind

    @property
    def proxy(self) -> FaultyProxy:
        """Without faults, and with nothing counted, when a test begins."""
        return self.store.proxy

    @property
    def environment(self) -> dict[str, str]:
        """For processes that do not inherit this one's."""
        return self.store.environment

    def names(self) -> list[str]:
        """Of all objects in the folder, in order."""
        start = self.address.partition("://")[2] + "/"
        found = self.store.filesystem().find(start)
        return sorted(name.removeprefix(start) for name in found)


def client_environment(kind: str, address: str) -> dict[str, str]:
    """What a client reads from its environment to go to a server at this address."""
    if kind == "s3":
        return {
            "AWS_ENDPOINT_URL": address,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **KEY,
        }
    return {
        "STORAGE_EMULATOR_HOST": address,
        "FSSPEC_GS": json.dumps({"token": "anon"}),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


@contextmanager
def store(kind: str) -> Iterator[Store]:
    """A server in a process of its own; it ends with this one, however that ends."""
    command = [sys.executable, "-m", MODULES[kind]]
    pipes: Mapping[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as server:
        port = int(server.stdout.readline())
        proxy = FaultyProxy(port)
        make_bucket(kind, port)
        try:
            yield Store(kind, port, proxy)
        finally:
            proxy.close()
            server.stdin.close()


def make_bucket(kind: str, port: int) -> None:
    """As a plain request: no client is needed."""
    if kind == "s3":
        request = Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    else:
        content, head = json.dumps({"name": BUCKET}).encode(), {"Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{port}/storage/v1/b", content, head, method="POST")
    urlopen(request).close()


def told_in_process(environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> None:
    """Set the variables here, and tell what was imported before about them.

    fsspec keeps file systems, each for one server: it forgets them.
    """
    import fsspec.config

    for name, value in environment.items():
        patch.setenv(name, value)
    if "FSSPEC_GS" in environment:
        from fsspec.registry import _registry
        from gcsfs.core import GCSFileSystem

        patch.setitem(fsspec.config.conf, "gs", json.loads(environment["FSSPEC_GS"]))
        for name in ("gs", "gcs"):
            patch.setitem(_registry, name, GCSFileSystem)
    forget_filesystems()


def forget_filesystems() -> None:
    """What fsspec makes next reads the environment."""
    for name, module in (("S3FileSystem", "s3fs"), ("GCSFileSystem", "gcsfs")):
        if module in sys.modules:
            getattr(sys.modules[module], name).clear_instance_cache()
    if "gcsfs" in sys.modules:
        sys.modules["gcsfs"].core.GCSFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def stores() -> Iterator[Callable[[str], Store]]:
    """One server of each kind for a session of tests, started when it is first asked for."""
    running: dict[str, Store] = {}
    with ExitStack() as held:

        def started(kind: str) -> Store:
            if kind not in running:
                running[kind] = held.enter_context(store(kind))
            return running[kind]

        yield started


@pytest.fixture(params=["s3", "gs"])
def bucket_store(request, stores) -> Store:
    """A server of each kind."""
    missing = [name for name in NEEDS[request.param] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: pip install 'albef_jax[dev]'")
    return stores(request.param)


@pytest.fixture
def bucket(bucket_store, monkeypatch) -> Iterator[Bucket]:
    """An empty folder, and the environment of its clients."""
    bucket_store.proxy.forget()
    told_in_process(bucket_store.environment, monkeypatch)
    folder = f"{next(NUMBERS)}-{uuid.uuid4().hex[:8]}"
    yield Bucket(bucket_store, f"{bucket_store.kind}://{BUCKET}/{folder}")
    bucket_store.proxy.forget()
    forget_filesystems()
