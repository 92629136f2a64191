"""Joins the processes of a job, ends them together, and handles a lost process."""

import ctypes
import math
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from albef_jax.distributed.launch import AUTO, Group
from albef_jax.errors import ConfigError

LOST = 75  # exit code: "temporary failure, try again" of sysexits.h
_TOGETHER = 10  # seconds until the others should have ended, too
_RETRY = 0.5  # seconds


class _End:
    """The message and the exit code for when the runtime ends this process."""

    text = ""
    code = LOST


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    os.write(2, _End.text.encode())
    os._exit(_End.code)


def _tell_when_aborted() -> None:
    """Make `abort` print our message and exit with our code.

    jax detects a lost process by missing heartbeats, in a thread that then calls `abort`: it runs
    no Python handler and cannot raise in a main thread that waits for devices.
    """
    if os.name == "nt":
        return
    library = ctypes.CDLL(None)
    library.signal.argtypes, library.signal.restype = [ctypes.c_int, ctypes.c_void_p], None
    library.signal(signal.SIGABRT, ctypes.cast(_aborted, ctypes.c_void_p))


@contextmanager
def joined(group: Group | None, join_seconds: float, peer_seconds: float) -> Iterator[None]:
    """Join the group; the process ends with the block.

    Without a group this does nothing. Must come before jax is asked for a device.

    Args:
        join_seconds: how long to wait for the others.
        peer_seconds: without a heartbeat from another process until this one ends, with `LOST`.

    Raises:
        ConfigError: there is no group, or it is another one.
    """
    if group is None:
        yield
        return
    _meet(group, join_seconds, peer_seconds)
    try:
        _check_size(group)
        yield
        code = 0
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        traceback.print_exc()
        if _is_of_communication(error):  # with a lost process, or in all processes
            _leave(1, LOST)
        code = 1
    _leave(code)


def _is_of_communication(error: BaseException) -> bool:
    """Whether JAX raised it; a broken connection between CPUs is a `ValueError` in some places."""
    broken = isinstance(error, ValueError) and "Gloo" in str(error)
    return broken or isinstance(error, jax.errors.JaxRuntimeError)


def _meet(group: Group, join_seconds: float, peer_seconds: float) -> None:
    who = f"process {group.process} of {group.processes}"
    _End.text = (
        f"error: {who}: the processes did not all come to {group.coordinator} within "
        f"{join_seconds:g} s. Were all started, with the same --coordinator and --processes?\n"
    )
    _tell_when_aborted()
    known: dict[str, Any] = {}
    if group.coordinator != AUTO:
        if group.process:
            _reach(group.coordinator, join_seconds, who)
        known = {
            "coordinator_address": group.coordinator,
            "num_processes": group.processes,
            "process_id": group.process,
            "local_device_ids": group.devices,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **known,
            initialization_timeout=math.ceil(join_seconds),
            heartbeat_timeout_seconds=math.ceil(peer_seconds),
            shutdown_timeout_seconds=_TOGETHER,
        )
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(
            f"{who}: cannot listen at {group.coordinator} ({error}); is the port in use?"
        ) from error
    except ValueError as error:  # `auto` found nothing
        raise ConfigError(f"--coordinator={AUTO} finds no group here: {error}") from error
    # jax took SIGTERM for a service that is not used.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _End.text = (
        f"\nerror: another process of this job was lost, or has left with an error; its own log "
        f"tells more. This one ends with code {LOST}: start all again, the same command continues "
        "from the newest checkpoint\n"
    )


def _check_size(group: Group) -> None:
    if group.processes and jax.process_count() != group.processes:
        raise ConfigError(
            f"process {group.process} of {group.processes} met a group of {jax.process_count()}: "
            "give all the same --processes"
        )


def _reach(coordinator: str, seconds: float, who: str) -> None:
    """Wait until the coordinator listens; jax's own error would not name the problem."""
    host, port = coordinator.rsplit(":", 1)
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise ConfigError(
                    f"{who}: no coordinator at {coordinator} within {seconds:g} s ({error}). Is "
                    "process 0 running there, and is the port open?"
                ) from error
            time.sleep(_RETRY)


def _leave(code: int, alone: int | None = None) -> NoReturn:
    """End the process with `code`, together with the others if they end, too.

    Args:
        alone: the code if they do not; None for the same.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _End.code = code if alone is None else alone
    if alone is None:
        _End.text = ""
    if code == 0:
        multihost_utils.sync_global_devices("all is done")  # process 0 may still write its report
    try:
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError:
        os.write(2, _End.text.encode())
        code = _End.code
    os._exit(code)
