"""Communication between processes outside the train step; none in a single-process run."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from albef_jax.distributed.mesh import to_devices
from albef_jax.errors import ConfigError

_BLOCK = 1024  # messages are padded to whole ones: few programs to compile
_SHARED_SECONDS = 20  # until a file written on one host must be visible on the others


def is_main_process() -> bool:
    """Whether this is process 0, which prints and writes shared files."""
    return jax.process_index() == 0


def print_on_main(*lines: str) -> None:
    """Print on process 0 only."""
    if is_main_process():
        print(*lines, sep="\n", flush=True)


def gather_from_all(value: Any) -> list[Any]:
    """The value of each process, in order of process numbers; all must call it.

    Args:
        value: serialisable as JSON.
    """
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    return [json.loads(told) for told in _gather_bytes(text)]


def gather_rows(rows: np.ndarray) -> list[np.ndarray]:
    """The rows `[n, ...]` of each process, in order of process numbers; all must call it.

    Args:
        rows: as many as this process has; all but the first dimension is the same for all.
    """
    if jax.process_count() == 1:
        return [rows]
    own = np.frombuffer(rows.tobytes(), np.uint8)  # jax would shorten numbers of 64 bits
    return [
        np.frombuffer(raw, rows.dtype).reshape(-1, *rows.shape[1:]) for raw in _gather_bytes(own)
    ]


def _gather_bytes(own: np.ndarray) -> list[bytes]:
    lengths = multihost_utils.process_allgather(np.int32(len(own)))
    padded = np.zeros(-(-int(lengths.max()) // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(own)] = own
    rows = multihost_utils.process_allgather(padded)
    return [row[:n].tobytes() for row, n in zip(rows, lengths, strict=True)]


def broadcast_from_main(value: Any) -> Any:
    """The value of process 0; all must call it."""
    return gather_from_all(value if is_main_process() else None)[0]


@contextmanager
def raise_on_all_processes(*kinds: type[Exception]) -> Iterator[None]:
    """All processes pass the block, or none: an error on one is raised on all.

    The block must not wait for other processes.

    Args:
        kinds: of errors that are passed on to the others.

    Raises:
        ConfigError: on the processes without an error of their own.
    """
    own = None
    try:
        yield
    except kinds as error:
        own = error
    told = gather_from_all(None if own is None else str(own))
    if own is not None:
        raise own
    for number, text in enumerate(told):
        if text is not None:
            raise ConfigError(f"process {number}: {text}")


class AllReduceMax:
    """The largest number that any process gives; all must call it.

    The devices compute it, so a call returns at once; reading the result waits for the others. A
    single process gets its own number back.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, number: int) -> int | jax.Array:
        """Give a number, and get one that `int` reads."""
        if jax.process_count() == 1:
            return number
        mine = np.full(self._mesh.local_mesh.size, number, np.int32)
        return self._largest(to_devices(self._mesh, {"mine": mine})["mine"])


def check_same(values: dict[str, Any]) -> None:
    """Check that all processes have the same values; all must call it.

    Args:
        values: by their names for an error message.

    Raises:
        ConfigError: on all processes, if one differs from process 0.
    """
    first, *others = gather_from_all(values)
    for number, theirs in enumerate(others, 1):
        for name, value in first.items():
            if theirs[name] != value:
                raise ConfigError(
                    f"process {number} has another {name} than process 0: {theirs[name]} instead "
                    f"of {value}. All need the same command, program and data"
                )


def check_shared(directory: Path) -> None:
    """Check that all processes see the same directory, made by process 0; all must call it.

    Raises:
        ConfigError: on all processes, if one sees another directory.
    """
    if jax.process_count() == 1:
        return
    name = f".shared-{uuid.uuid4().hex}"
    if is_main_process():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    mark = directory / broadcast_from_main(name)  # sent once the file exists
    unseen = [number for number, seen in enumerate(gather_from_all(_appears(mark))) if not seen]
    if is_main_process():
        mark.unlink()
        # No process continues, to list the directory or to end the job, before the file is gone.
    gather_from_all(None)
    if unseen:
        raise ConfigError(
            f"{directory} is another directory for process(es) {', '.join(map(str, unseen))} than "
            "for process 0: --workdir must be on a file system that all hosts share"
        )


def _appears(file: Path) -> bool:
    until = time.monotonic() + _SHARED_SECONDS  # network file systems cache missing files
    while not file.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
