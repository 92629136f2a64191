"""Records to batches of numpy arrays, with Grain: shuffling, host sharding, reading ahead.

A batch follows from its step number alone. Sample `p` of the endless stream (batch `k` holds
positions `k * batch_size` and on) depends on `(seed, p)` only: Grain's shuffle says which record it
is, and `default_rng([seed, p, attempt])` is all the randomness it gets. So a run that starts at
step `k` continues an earlier one bit for bit, with any number of threads, workers and hosts, and no
iterator state is ever saved. Hosts take consecutive blocks of rows: joined in order of
`process_index`, they are the one-host batch, so contrast groups hold the same samples with any
number of hosts. Bad records travel with the row that replaces them and are reported when it
arrives, so there is one register, filled in one order, with any number of readers.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from albef_jax.data import workers as processes
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.grouping import GroupedPlaces, Grouping
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.records import PairSource
from albef_jax.errors import BadSample, TooManyBadSamples

Batch = dict[str, Any]
ReadExample = Callable[[int, np.random.Generator], Batch]
Row = tuple[Batch | None, tuple[BadSample, ...]]  # a record, if any, and the bad samples before it

MAX_ATTEMPTS = 16


class Order(Protocol):
    """The record at each position of the endless stream."""

    def __getitem__(self, position: int) -> int: ...

    def another(self, position: int, rng: np.random.Generator) -> int:
        """A random record that replaces the one at `position`."""
        ...


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Batches in an epoch: the last, incomplete one is left out, as in the official sampler."""
    return size // batch_size


def shuffled_batches(
    read: ReadExample,
    size: int,
    *,
    batch_size: int,
    seed: int,
    bad_samples: BadSamples,
    start_step: int = 0,
    num_steps: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 8,
    prefetch: int = 2,
    workers: int = 0,
    order: Order | None = None,
    grouping: Grouping | None = None,
) -> Generator[Batch]:
    """Batches of examples that `read` makes of records, in a new order in each epoch.

    Args:
        read: `(index, rng)` to a flat dict of arrays, equal in shape for all records; called from
            several threads, and pickled for workers. A record that raises `BadSample` is replaced
            by a random one, which also follows from the seed and the position.
        size: number of records.
        batch_size: B, over all hosts.
        seed: not negative.
        bad_samples: where bad records are reported; it may stop the run.
        start_step: number of the first batch; batches before it are not computed.
        num_steps: how many batches; None for no end.
        process_index: this host's number.
        process_count: number of hosts; divides B.
        threads: that read and transform, in each worker; 0 does the work inside `next()`.
        prefetch: batches to have ready ahead.
        workers: processes that read and transform; 0 does it in this one.
        order: of the records; None for epochs that are permutations of all, cut to whole batches.
        grouping: of texts of similar lengths into batches; None leaves samples where they are.

    Yields:
        Dicts with the keys of `read` and arrays `[B / process_count, ...]`, and sample_index int64
        `[B / process_count]`: which record each row is.

    Raises:
        ValueError: fewer records than a batch, or B not divisible by the number of hosts.
        TooManyBadSamples: from `bad_samples`, or for `MAX_ATTEMPTS` bad records in a row.
    """
    _check_sizes(size, batch_size, process_count)
    rows = batch_size // process_count
    ordered = order or _Shuffled(size, batch_size, seed)
    places = _grouped(grouping, ordered, size, batch_size, seed) if grouping else None
    if num_steps is None:
        num_steps = sys.maxsize // batch_size - start_step

    def example(local: int) -> Row:
        step, row = divmod(local, rows)
        position = (start_step + step) * batch_size + process_index * rows + row
        if places:
            position = places[position]
        return _read_or_replace(read, ordered, seed, position)

    def collate(found: Sequence[Row]) -> Batch:
        examples = list(_report_bad_samples(found, bad_samples))
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}

    examples = grain.MapDataset.range(num_steps * rows).map(example)
    return _iterate(examples, rows, collate, threads, prefetch, workers)


def eval_batches(
    source: PairSource,
    transform: EvalTransform,
    batch_size: int,
    *,
    bad_samples: BadSamples,
    indices: Sequence[int] | None = None,
    share: tuple[int, int] = (0, 1),
    threads: int = 8,
    prefetch: int = 2,
) -> Generator[Batch]:
    """A source's images in order, each once, with all captions; see `ordered_batches`.

    Yields:
        image uint8 `[b, S, S, 3]`, valid bool `[b]`, image_id int32 `[b]`, sample_index int64
        `[b]`, name, a list of b names of records, and captions, a list of b tuples of texts as
        written. Rows that are not valid are zeros with no captions.
    """
    empty = np.zeros((transform.image_size, transform.image_size, 3), np.uint8)

    def read(index: int) -> Batch:
        pair = source[index]
        return {
            "image": transform(pair.image),
            "image_id": np.int32(pair.image_id),
            "name": pair.name,
            "captions": pair.captions,
        }

    return ordered_batches(
        read,
        {"image": empty, "image_id": np.int32(-1), "name": "", "captions": ()},
        len(source),
        batch_size,
        bad_samples=bad_samples,
        indices=indices,
        share=share,
        threads=threads,
        prefetch=prefetch,
    )


def ordered_batches(
    read: Callable[[int], Batch],
    blank: Batch,
    size: int,
    batch_size: int,
    *,
    bad_samples: BadSamples,
    indices: Sequence[int] | None = None,
    share: tuple[int, int] = (0, 1),
    threads: int = 8,
    prefetch: int = 2,
) -> Generator[Batch]:
    """Batches of examples that `read` makes of records, in order, each once; the last is padded.

    Args:
        read: index to a flat dict with the keys of `blank`; called from several threads.
        blank: the row for a bad record and for padding. Keys with an array (or a numpy number) are
            stacked, so their shapes must be equal; other values are collected in a list.
        size: number of records.
        batch_size: b, rows in every batch of all processes together.
        bad_samples: where bad records are reported; their rows are not valid.
        indices: the records to walk; None for all.
        share: number of this process, and how many there are: each reads its part of the rows of
            every batch, b / their number, and all get equally many batches.
        threads: that read and transform; 0 does the work inside `next()`.
        prefetch: batches to have ready ahead.

    Yields:
        Dicts with the keys of `read`, arrays `[b, ...]` and lists of b objects, and valid bool
        `[b]` and sample_index int64 `[b]`. Padding has sample_index -1, a bad record has its own.
    """

    def row(index: int) -> Row:
        try:
            return _eval_row(read(index), True, index), ()
        except BadSample as bad:
            return _eval_row(blank, False, index), (bad,)

    padding = _eval_row(blank, False, -1)
    number, count = share
    here = batch_size // count

    def collate(found: Sequence[Row]) -> Batch:
        read = [one for one in found if one[0] is not padding]
        rows = [*_report_bad_samples(read, bad_samples), *[padding] * (here - len(read))]
        columns = {key: [row[key] for row in rows] for key in padding}
        return {
            key: np.stack(column) if isinstance(padding[key], np.ndarray | np.generic) else column
            for key, column in columns.items()
        }

    walk = range(size) if indices is None else indices
    batches = -(-len(walk) // batch_size)

    def own(place: int) -> Row:
        batch, offset = divmod(place, here)
        position = batch * batch_size + number * here + offset
        return row(int(walk[position])) if position < len(walk) else (padding, ())

    examples = grain.MapDataset.range(batches * here).map(own)
    return _iterate(examples, here, collate, threads, prefetch)


def _eval_row(record: Batch, valid: bool, index: int) -> Batch:
    return {**record, "valid": np.bool_(valid), "sample_index": np.int64(index)}


def _check_sizes(size: int, batch_size: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} does not divide over {process_count} hosts")
    if size < batch_size:
        raise ValueError(
            f"{size} records are fewer than one batch of {batch_size}; lower the batch"
        )


class _Shuffled:
    """Each epoch a permutation, cut to whole batches."""

    def __init__(self, size: int, batch_size: int, seed: int):
        # Grain adds the epoch to its seed; hashing keeps seed 1 from repeating epochs of seed 0.
        hashed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        whole = steps_per_epoch(size, batch_size) * batch_size
        self._size = size
        self._records = grain.MapDataset.range(size).shuffle(seed=hashed)[:whole].repeat()

    def __getitem__(self, position: int) -> int:
        return int(self._records[position])

    def another(self, position: int, rng: np.random.Generator) -> int:
        """Any record."""
        return int(rng.integers(self._size))


def _random(seed: int, position: int, attempt: int = 0) -> np.random.Generator:
    """All the randomness of a sample."""
    return np.random.default_rng([seed, position, attempt])


def _grouped(
    grouping: Grouping, order: Order, size: int, batch_size: int, seed: int
) -> GroupedPlaces:
    def bucket(position: int) -> int:
        length = grouping.length(order[position], _random(seed, position))
        return bisect_left(grouping.widths, length)

    steps = steps_per_epoch(size, batch_size)
    return GroupedPlaces(bucket, batch_size, steps, grouping.window, seed)


def _read_or_replace(read: ReadExample, order: Order, seed: int, position: int) -> Row:
    met: list[BadSample] = []
    for attempt in range(MAX_ATTEMPTS):
        rng = _random(seed, position, attempt)
        index = order.another(position, rng) if attempt else order[position]
        try:
            return {**read(index, rng), "sample_index": np.int64(index)}, tuple(met)
        except BadSample as bad:
            met.append(bad)
    return None, tuple(met)


def _report_bad_samples(found: Iterable[Row], bad_samples: BadSamples) -> Generator[Batch]:
    """The records alone; bad samples met before them are reported to the register."""
    for record, met in found:
        for bad in met:
            bad_samples.requested()
            bad_samples.report(bad)
        if record is None:
            raise TooManyBadSamples(
                f"{MAX_ATTEMPTS} samples in a row cannot be used; the last: {met[-1]}"
            )
        bad_samples.requested()
        yield record


def _iterate(
    examples: grain.MapDataset,
    batch_size: int,
    collate: Callable[[Sequence[Row]], Batch],
    threads: int,
    prefetch: int,
    workers: int = 0,
) -> Generator[Batch]:
    ahead = max(prefetch * batch_size, threads)  # in examples; Grain wants one or more a thread
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    rows = examples.to_iter_dataset(options)
    with processes.read_in_processes(rows, workers, ahead) as spread:
        iterator = iter(spread.batch(batch_size, batch_fn=collate))
        try:
            yield from iterator
        finally:
            iterator.close()
