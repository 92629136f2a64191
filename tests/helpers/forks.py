"""Python processes that begin with the imports of a run done: each is a fork of one that has them.

Importing takes two or three seconds of every process that a test starts. Here a template imports
once, starts neither threads nor devices, and is forked for each start. The child has the arguments,
the environment, the directory and the output that it is given; a signal, a kill and an exit code
are those of any process. Its hash seed is the template's: where order may matter, compare with a
process that was really started.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMPORTED = (
    "albef_jax.run",
    "albef_jax.distributed.initialize",
    "albef_jax.storage.staged",
    "albef_jax.tasks.pretrain",
    "albef_jax.train.resilience.watchdog",
    "albef_jax.validate",
    "ml_collections.config_flags",
)
# For runs in buckets, where they are installed.
CLIENTS = ("s3fs",)
# Variables that these read when they are imported: another template for other values.
READ_AT_IMPORT = ("JAX_", "FSSPEC_", "GCSFS_")
LARGEST = 1 << 17  # bytes of a message


class Fork:
    """The part of `subprocess.Popen` that tests use; the output is text."""

    def __init__(self, pid: int, stdout: Any, ended: socket.socket):
        self.pid, self.stdout, self.returncode = pid, stdout, None
        self._ended = ended

    def poll(self) -> int | None:
        return self._code(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def terminate(self) -> None:
        self.send_signal(15)

    def _code(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as told:
                told.register(self._ended, selectors.EVENT_READ)
                if told.select(seconds):
                    self.returncode = int(self._ended.recv(LARGEST))
                    self._ended.close()
        return self.returncode


@dataclass(frozen=True)
class Template:
    """The process that is forked, and the socket that takes requests."""

    process: subprocess.Popen
    asked: socket.socket

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Fork:
        """As `python ARGUMENTS`: `-m MODULE …`, or a script and its arguments."""
        request = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd)}
        reading, writing = os.pipe()
        ended, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with told:
            socket.send_fds(self.asked, [json.dumps(request).encode()], [writing, told.fileno()])
            os.close(writing)
        return Fork(int(ended.recv(LARGEST)), os.fdopen(reading), ended)

    def close(self) -> None:
        self.asked.close()
        self.process.wait()


@cache
def _template(variables: frozenset[tuple[str, str]]) -> Template:
    """A template with these variables, for as long as this process lives."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(READ_AT_IMPORT)}
    # Else numpy starts a thread.
    environment = {**others, **dict(variables), "OPENBLAS_NUM_THREADS": "1"}
    asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.forks", str(theirs.fileno())],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    template = Template(process, asked)
    atexit.register(template.close)
    return template


def start_anew(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT
) -> subprocess.Popen:
    """Start Python as users do, with output and errors in one pipe."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **pipes)


def start(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT
) -> Fork | subprocess.Popen:
    """The same, but forked from a process that has done the imports (on Linux)."""
    if not hasattr(os, "pidfd_open"):
        return start_anew(arguments, environment, cwd)
    read = {(k, v) for k, v in environment.items() if k.startswith(READ_AT_IMPORT)}
    return _template(frozenset(read)).start(arguments, environment, cwd)


def _wait_for_a_start(asked: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns it in the child; in the template None, once the tests end."""
    with selectors.DefaultSelector() as ready:
        ready.register(asked, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not asked:
                    _tell_the_end(ready, key)
                    continue
                message, files, *_ = socket.recv_fds(asked, LARGEST, 2)
                if not message:
                    return None
                output, told = files
                pid = os.fork()
                if not pid:
                    os.close(told)
                    return json.loads(message) | {"output": output}
                os.close(output)
                os.write(told, str(pid).encode())
                ready.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))


def _tell_the_end(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, told = key.data
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ready.unregister(key.fileobj)
    with suppress(BrokenPipeError):  # nobody wants to know
        os.write(told, str(code).encode())
    os.close(key.fd)
    os.close(told)


def _run(request: dict[str, Any]) -> None:
    """Become the requested process."""
    for number in (1, 2):
        os.dup2(request["output"], number)
    os.close(request["output"])
    # New ones: those of the template took their file for one that can be sought in.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *rest = request["arguments"]
    if first == "-m":
        first, *rest = rest
        sys.argv[1:] = rest
        runpy.run_module(first, run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    for module in CLIENTS:
        with suppress(ImportError):
            importlib.import_module(module)
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"a fork would lack {len(threads) - 1} threads"
    # What is there now stays; see `tests/conftest.py` for the numbers.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        request = _wait_for_a_start(asked)
    if request is not None:
        _run(request)


if __name__ == "__main__":
    main()
