"""Every command has help with an example that names it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    """All modules that are run with `python -m`."""
    files = [*(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    files += (ROOT / "albef_jax").rglob("*.py")
    run = [file for file in files if '__name__ == "__main__"' in file.read_text("utf-8")]
    return sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in run)


# Flags of absl are of a whole process; the last one helps before it imports torch.
ALONE = ("albef_jax.main", "tools.record_unimodal")


def test_all_are_found():
    assert {
        "albef_jax.main",
        "albef_jax.apps.demo.page",
        "tools.search",
        "benchmarks.scaling",
    } <= set(commands())


def help_of(command: str, monkeypatch, capsys) -> str:
    if command in ALONE:
        run = [sys.executable, "-m", command, "--help"]
        return subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(command).main()
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", commands())
def test_help_shows_an_example(command, monkeypatch, capsys):
    text = help_of(command, monkeypatch, capsys)
    _, heading, examples = text.partition("Example")
    assert heading and f"    python -m {command}" in examples
    assert "--help" in text
