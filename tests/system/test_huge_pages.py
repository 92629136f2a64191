"""Huge pages are asked for once, by a process that was started as a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from albef_jax.system.huge_pages import REQUEST, VARIABLE, to_be_asked_for

MODULE = "albef_jax.main"
ON_REQUEST = "always [madvise] never"


@pytest.mark.parametrize(
    ("setting", "command", "environment", "wanted"),
    [
        (ON_REQUEST, ["python", "-m", MODULE, "--config=x.py"], {}, True),
        (ON_REQUEST, ["python", "-X", "dev", "-m", MODULE], {}, True),
        ("[always] madvise never", ["python", "-m", MODULE], {}, False),
        ("always madvise [never]", ["python", "-m", MODULE], {}, False),
        ("", ["python", "-m", MODULE], {}, False),
        (ON_REQUEST, ["python", "-m", MODULE], {VARIABLE: "glibc.malloc.hugetlb=0"}, False),
        (ON_REQUEST, ["python", "-m", "pdb", "-m", MODULE], {}, False),
        (ON_REQUEST, ["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], {}, False),
        (ON_REQUEST, ["python", "albef_jax/main.py"], {}, False),
        (ON_REQUEST, ["pytest"], {}, False),
    ],
)
def test_who_asks(setting, command, environment, wanted):
    assert to_be_asked_for(setting, MODULE, command, environment) is wanted


# A module that says what it was started with, and by whom.
SCRIPT = """
import os, sys
from pathlib import Path
from albef_jax.system import huge_pages
huge_pages.SETTING = Path(sys.argv[1])
print(os.getpid(), os.environ.get(huge_pages.VARIABLE), *sys.argv[2:], flush=True)
huge_pages.restart_with_huge_pages("started")
print("goes on")
"""


@pytest.fixture
def started(tmp_path):
    (tmp_path / "started.py").write_text(SCRIPT)
    (tmp_path / "setting").write_text(ON_REQUEST)
    command = [sys.executable, "-m", "started", str(tmp_path / "setting"), "with space", "--x=*"]

    def run(**environment: str) -> list[str]:
        own = {k: v for k, v in os.environ.items() if k != VARIABLE} | environment
        own["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path.cwd())])
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


def test_it_starts_anew_once_and_goes_on_with_its_arguments(started):
    first, second, rest = started()
    number, given, *arguments = first.split(" ", 2)
    assert given == "None" and arguments == ["with space --x=*"]
    assert second == f"{number} {REQUEST} with space --x=*"
    assert rest == "goes on"


def test_what_the_user_has_set_stays(started):
    first, rest = started(GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert "hugetlb=0" in first and rest == "goes on"
