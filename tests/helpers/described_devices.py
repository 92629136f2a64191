"""Processes that compile for devices that are only described."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT


def printed(*arguments: str, wheel: str = "jax_cuda13_plugin") -> list[str]:
    """What Python prints with these arguments, by lines; skips where the compiler is missing."""
    if importlib.util.find_spec(wheel) is None:
        pytest.skip(f"needs {wheel}: make accelerators")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()
