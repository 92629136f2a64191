"""Real processes for tests: started together, read, and never left behind."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from socketserver import BaseServer

from tests.helpers import forks

ROOT = Path(__file__).parents[2]
CACHE = ("JAX_COMPILATION_CACHE_", "JAX_PERSISTENT_CACHE_")
PATIENCE = 1200  # seconds: a busy machine starts slowly
# Compiling is most of what tests do. Programs are small: one module is compiled sooner than many.
# XLA's newer code generator takes twice as long, and can be switched off in jax 0.10 alone.
QUICK_COMPILER = {
    "xla_cpu_parallel_codegen_split_count": 1,
    **({"xla_cpu_use_fusion_emitters": False} if version("jax") < "0.11" else {}),
}


def xla_flags(devices: int) -> str:
    """The flags of a process that sees so many virtual devices, and compiles fast."""
    flags = {"xla_force_host_platform_device_count": devices, **QUICK_COMPILER}
    return " ".join(f"--{name}={int(value)}" for name, value in flags.items())


def quick_start(devices: int = 1) -> dict[str, str]:
    """Environment of a process that compiles as the tests do, and what they do only once."""
    return {
        **{name: os.environ[name] for name in os.environ if name.startswith(CACHE)},
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": xla_flags(devices),
    }


def free_port() -> int:
    """One that nobody listens at; the system does not give it away again soon."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A Python process, and what it has printed so far."""

    def __init__(
        self,
        arguments: Sequence[str],
        devices: int,
        variables: Mapping[str, str] | None = None,
        forked: bool = False,
    ):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "SLURM_"))},
            "JAX_PLATFORMS": "cpu",
            **quick_start(devices),
            **(variables or {}),
        }
        self.lines: list[str] = []
        self.process = (forks.start if forked else forks.start_anew)(arguments, environment)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_until_said(self, start: str) -> None:
        until = time.monotonic() + PATIENCE
        while not any(line.startswith(start) for line in list(self.lines)):
            assert self.process.poll() is None and time.monotonic() < until, self.text
            time.sleep(0.01)

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code

    def close(self) -> None:
        self.process.kill()
        self.end()
        self.process.stdout.close()


@contextmanager
def started(
    commands: Sequence[Sequence[str]],
    devices: int = 2,
    variables: Sequence[Mapping[str, str]] | None = None,
    forked: bool = False,
) -> Iterator[list[Process]]:
    """A process for each command, which sees `devices` virtual devices, and its own `variables`.

    Args:
        forked: from one that has imported what runs import (`forks`).
    """
    each = variables or [{}] * len(commands)
    processes = [
        Process(command, devices, own, forked) for command, own in zip(commands, each, strict=True)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.close()


def group_flags(count: int = 2) -> list[list[str]]:
    """The flags of each process of a new group."""
    address = f"127.0.0.1:{free_port()}"
    return [
        [f"--coordinator={address}", f"--processes={count}", f"--process={number}"]
        for number in range(count)
    ]


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve(server: BaseServer) -> None:
    """Print the port of a server, and serve until whoever started this process closes its input."""
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
