"""Batches whose texts are padded no further than to the bucket of the longest one.

Padding is masked everywhere, so a batch of any width that holds its texts gives the same losses and
gradients; each width is a program of its own. All processes must run the same one.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing

import jax
import numpy as np
from jax.sharding import Mesh

from albef_jax.distributed.sync import AllReduceMax

Batch = dict[str, np.ndarray]
TEXTS = ("text_ids", "text_mask")


def in_buckets(batches: Generator[Batch], widths: Sequence[int], mesh: Mesh) -> Generator[Batch]:
    """The same batches with `text_ids` and `text_mask` `[b, T]` cut to `[b, W]`.

    W is the smallest of `widths` that holds the longest text of the batch of all processes. These
    agree one batch ahead, so that no step waits for it.

    Args:
        batches: of this process; as many on each.
        widths: ascending; the last holds every text.
        mesh: of all devices.
    """
    largest, ahead = AllReduceMax(mesh), int(jax.process_count() > 1)
    waiting: deque[tuple[Batch, int | jax.Array]] = deque()
    with closing(batches):
        for batch in batches:
            longest = int(batch["text_mask"].sum(axis=1).max())
            waiting.append((batch, largest(bisect_left(widths, longest))))
            if len(waiting) > ahead:
                yield _next(waiting, widths)
    while waiting:
        yield _next(waiting, widths)


def _next(waiting: deque[tuple[Batch, int | jax.Array]], widths: Sequence[int]) -> Batch:
    batch, bucket = waiting.popleft()
    width = widths[int(bucket)]
    texts = {name: np.ascontiguousarray(batch[name][:, :width]) for name in TEXTS}
    return batch | texts
