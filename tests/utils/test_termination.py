import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOLDS_A_FOLDER = """
import sys, tempfile, time
from albef_jax.utils.termination import ended_by_exception
with ended_by_exception(), tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    open(folder + "/example.png", "w").close()
    print(folder, flush=True)
    time.sleep(60 if len(sys.argv) == 2 else 0)
"""
# The page itself, with a model of random weights.
PAGE = """
import sys
sys.path.insert(0, "tests/serve")
from tests.inference.test_model import model_of
from albef_jax.apps.demo.page import serve
serve(model_of("retrieval"), None, int(sys.argv[2]))
"""


def started(script, *arguments, **environment):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    env = os.environ | environment
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_folder(number, tmp_path):
    with started(HOLDS_A_FOLDER, tmp_path) as process:
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path and folder.is_dir()
        process.send_signal(number)
        code = process.wait(30)
    assert code == (128 + number if number != signal.SIGINT else -signal.SIGINT)
    assert not list(tmp_path.iterdir())


def test_nor_does_a_normal_end(tmp_path):
    with started(HOLDS_A_FOLDER, tmp_path, "at once") as process:
        assert process.wait(30) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_page_ended_by_a_signal_leaves_no_folder(number, tmp_path):
    pytest.importorskip("gradio")
    with started(PAGE, tmp_path, 7899, TMPDIR=str(tmp_path), PYTHONWARNINGS="ignore") as process:
        assert "http://127.0.0.1:7899" in process.stdout.readline()
        assert list(tmp_path.glob("albef_jax_page_*/example_1.png"))
        time.sleep(2)  # until it serves
        process.send_signal(number)
        process.wait(30)
    assert not list(tmp_path.glob("albef_jax_page_*"))
