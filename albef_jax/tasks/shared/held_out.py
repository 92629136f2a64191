"""Evaluation shared by all processes: each held-out record is read by one of them.

Every process reads its rows of each batch, and the batch is computed together; then the results are
gathered on all. They do not depend on the number of processes.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import jax
import numpy as np

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import Batch, ordered_batches
from albef_jax.distributed.sync import gather_from_all, gather_rows, raise_on_all_processes
from albef_jax.errors import TooManyBadSamples
from albef_jax.tasks.shared.base import Task


@contextmanager
def held_out_register(task: Task) -> Iterator[BadSamples]:
    """The register of unusable held-out records; its files are merged when the block ends."""
    register = BadSamples(
        task.workdir / "bad_eval_samples.jsonl",
        task.config.data.max_bad_share,
        len(task.held_out),
        process=jax.process_index(),
    )
    yield register
    gather_from_all(None)  # all have written what they met
    with raise_on_all_processes(TooManyBadSamples):
        register.merge(last=True)


def local_batches(
    task: Task, read: Callable[[int], Batch], blank: Batch, register: BadSamples
) -> Generator[Batch]:
    """This process's rows of each batch; see `data.batching.ordered_batches`."""
    batches = ordered_batches(
        read,
        blank,
        task.eval_size(),
        task.config.evaluation.batch_size,
        bad_samples=register,
        share=(jax.process_index(), jax.process_count()),
        threads=task.config.data.threads,
    )
    with closing(batches):
        yield from batches


def gather_records(rows: Sequence[list]) -> list[list]:
    """Rows of all processes, in the order of their records.

    Args:
        rows: each starts with the number of its record; serialisable as JSON.
    """
    return sorted((row for own in gather_from_all(rows) for row in own), key=lambda row: row[0])


def gather_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`gather_records` for arrays `[n, ...]`; `index` holds the numbers of the records."""
    joined: dict[str, Any] = {
        name: np.concatenate(gather_rows(array)) for name, array in arrays.items()
    }
    order = np.argsort(joined["index"], kind="stable")
    return {name: array[order] for name, array in joined.items()}
