"""The demo as `make demo` runs it: slow, and the promise of the README."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_demo_retrieves_unseen_scenes(tmp_path):
    """R@1 of at least 10 % both ways on 500 unseen scenes: fifty times chance."""
    command = [sys.executable, "-m", "albef_jax.main", "--config", "configs/pretrain.py"]
    # As a user runs it: on the machine's own devices, not on this suite's virtual ones.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    done = subprocess.run(
        [*command, "--workdir", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == (tmp_path / "report" / "index.html").as_uri()
    retrieval = json.loads((tmp_path / "results.json").read_text())["retrieval"]
    assert retrieval["images"] == retrieval["captions"] == 500
    assert retrieval["itc"]["text_retrieval"]["r1"] >= 10
    assert retrieval["itc"]["image_retrieval"]["r1"] >= 10
