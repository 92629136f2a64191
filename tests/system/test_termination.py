import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import PATIENCE, ROOT

HOLDS_A_FOLDER = """
import sys, tempfile, time
from albef_jax.system.termination import ended_by_exception
with ended_by_exception(), tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    open(folder + "/example.png", "w").close()
    print(folder, flush=True)
    time.sleep(60 if len(sys.argv) == 2 else 0)
"""


def started(*arguments):
    command = [sys.executable, "-c", HOLDS_A_FOLDER, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_folder(number, tmp_path):
    with started(tmp_path) as process:
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path and folder.is_dir()
        process.send_signal(number)
        code = process.wait(PATIENCE)
    assert code == (128 + number if number != signal.SIGINT else -signal.SIGINT)
    assert not list(tmp_path.iterdir())


def test_nor_does_a_normal_end(tmp_path):
    with started(tmp_path, "at once") as process:
        assert process.wait(PATIENCE) == 0
    assert not list(tmp_path.iterdir())
