"""What the processes of a job tell each other outside the train step. Alone, nothing is sent."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from albef_jax.errors import ConfigError

_BLOCK = 1024  # messages are padded to whole ones: few programs to compile
_SHARED_SECONDS = 20  # until a file written on one host must be seen on the others


def is_main_process() -> bool:
    """Whether this is the process that prints and writes what is there once."""
    return jax.process_index() == 0


def print_on_main(*lines: str) -> None:
    """Print on the first process alone."""
    if is_main_process():
        print(*lines, sep="\n", flush=True)


def gather_from_all(value: Any) -> list[Any]:
    """What each process gives, by number; all must call it.

    Args:
        value: for JSON.
    """
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(-(-int(lengths.max()) // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(text)] = text
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:n])) for row, n in zip(rows, lengths, strict=True)]


def broadcast_from_main(value: Any) -> Any:
    """What the first process gives; all must call it."""
    return gather_from_all(value if is_main_process() else None)[0]


@contextmanager
def raise_on_all_processes(*kinds: type[Exception]) -> Iterator[None]:
    """All processes get through the block, or none: an error on one is raised on all.

    The block must not wait for other processes.

    Args:
        kinds: of errors that are told to the others.

    Raises:
        ConfigError: on those without an error of their own.
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


def check_same(values: dict[str, Any]) -> None:
    """All processes must have the same; all must call it.

    Args:
        values: by what they are called in an error.

    Raises:
        ConfigError: on all processes, if one has something else than the first.
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
    """All processes must see the same directory; the first makes it. All must call it.

    Raises:
        ConfigError: on all processes, if one sees another directory.
    """
    if jax.process_count() == 1:
        return
    name = f".shared-{uuid.uuid4().hex}"
    if is_main_process():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    mark = directory / broadcast_from_main(name)  # told when it is there
    unseen = [number for number, seen in enumerate(gather_from_all(_appears(mark))) if not seen]
    if is_main_process():
        mark.unlink()
    gather_from_all(
        None
    )  # nobody goes on, to list the directory or to end the job, before it is gone
    if unseen:
        raise ConfigError(
            f"{directory} is another directory for process(es) {', '.join(map(str, unseen))} than "
            "for process 0: --workdir must be on a file system that all hosts share"
        )


def _appears(file: Path) -> bool:
    until = time.monotonic() + _SHARED_SECONDS  # network file systems remember what was not there
    while not file.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
