"""Processes that read and transform, for hosts where one Python process limits the data.

Grain starts them and passes rows in order. This module adds what a long run needs: they end with
the process that started them, even if it is killed; they leave signals to it; and they report their
stacks when the run stalls.
"""

import faulthandler
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

import grain
from absl import flags

from albef_jax.errors import WorkerLost
from albef_jax.storage import settings

# Rows come through pipes, as fast as shared memory: a killed run leaves nothing behind, and they
# work in containers with little shared memory.
_BY_PIPE = grain.experimental.DatasetOptions(min_shm_size=1 << 62)
_ANSWER_S = 2.0  # for a worker to write its stack
_live: list[Path] = []  # a directory for each group of workers, a file for each worker


@contextmanager
def read_in_processes(
    rows: grain.IterDataset, workers: int, ahead: int
) -> Generator[grain.IterDataset]:
    """The same rows in the same order, read by processes.

    Args:
        rows: a picklable data set.
        workers: how many; 0 changes nothing.
        ahead: rows to have ready, by all workers together.

    Raises:
        WorkerLost: a worker was killed, for example for lack of memory.
    """
    if not workers:
        yield rows
        return
    if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which are unparsed without absl.app
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=-(-ahead // workers))
    with tempfile.TemporaryDirectory(prefix="albef_jax-workers-") as name:
        directory = Path(name)
        _live.append(directory)
        try:
            rows = grain.experimental.WithOptionsIterDataset(rows, _BY_PIPE)
            begin = partial(_begin, directory, settings.current())
            yield rows.mp_prefetch(options, worker_init_fn=begin)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            reason = str(error).partition(".")[0]
            raise WorkerLost(
                f"{reason} (data.workers={workers}), perhaps for lack of memory. The same command "
                "continues from the newest checkpoint"
            ) from error
        finally:
            _live.remove(directory)


def stacks() -> str:
    """The stacks of all workers of this process, main threads last; empty without workers."""
    files = [file for directory in _live for file in sorted(directory.glob("data worker *"))]
    before = {file: file.stat().st_size for file in files}
    for file in files:
        with suppress(ProcessLookupError):
            os.kill(_pid(file), signal.SIGUSR1)
    if files:
        time.sleep(_ANSWER_S)
    return "\n".join(
        f"{file.name}:\n{file.read_bytes()[before[file] :].decode() or 'does not answer'}"
        for file in files
    )


def _begin(directory: Path, storage: settings.Settings, number: int, _: int) -> None:
    """Set up a worker."""
    settings.use(storage)
    # Ctrl-C and schedulers signal all processes; the training process saves, then ends the others.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(directory,), daemon=True).start()
    file = (directory / f".{number}").open("wb")
    faulthandler.register(signal.SIGUSR1, file, all_threads=True)  # keeps the file open
    # Now it can be signalled; before, the signal would have ended it.
    Path(file.name).rename(directory / f"data worker {number}, process {os.getpid()}")


def _end_with_parent(directory: Path) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    shutil.rmtree(directory, ignore_errors=True)  # a killed parent could not remove it
    os._exit(1)


def _pid(file: Path) -> int:
    return int(file.name.rpartition(" ")[2])
