"""Several sources of pairs as one, each with its share of an epoch.

The records of all parts are concatenated, so the mixture is a source like any other; only the order
in which training reads it differs. An epoch has as many samples as there are records (cut to whole
batches), and each part gets its share of them: a small part with a large weight is repeated, of a
large part with a small weight only a fraction is read. A part is read in passes, each a new
permutation that continues in the next epoch where it stopped, so all its records come equally
often. The record at a position follows from the seed and the position alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import grain
import numpy as np

from albef_jax.data.batching import Order, steps_per_epoch
from albef_jax.data.records import KnownTexts, Pair, PairSource
from albef_jax.data.shards.tar_samples import Stray
from albef_jax.errors import BadSample

_IDS = 2**31  # image ids are int32


class MixedPairs:
    """Random access to the pairs of all parts, one part after the other.

    Names of records start with the name of their part. Image ids of different parts are kept apart:
    each part has its own range of 2^31 / parts numbers, and larger ids are reduced modulo it.

    Args:
        parts: sources by name.
        weights: shares of an epoch, relative to each other; None for the sizes of the parts.
    """

    def __init__(self, parts: dict[str, PairSource], weights: Sequence[float] | None = None):
        self._names, self._parts = tuple(parts), tuple(parts.values())
        self._sizes = [len(part) for part in self._parts]
        self._starts = np.cumsum([0, *self._sizes])
        self._weights = np.array(self._sizes if weights is None else weights, np.float64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`; raises `BadSample` with the part in its name."""
        number, own = self._place(index)
        name = self._names[number]
        try:
            pair = self._parts[number][own]
        except BadSample as bad:
            raise BadSample(f"{name}: {bad.name}", bad.reason) from None
        width = _IDS // len(self._parts)
        image_id = number * width + pair.image_id % width
        return Pair(f"{name}: {pair.name}", pair.image, pair.captions, image_id)

    def texts(self, index: int) -> tuple[str, ...]:
        """The captions at `index`; of parts that know them without their images."""
        number, own = self._place(index)
        return cast(KnownTexts, self._parts[number]).texts(own)

    def _place(self, index: int) -> tuple[int, int]:
        """The part that a record belongs to, and its index there."""
        index = range(len(self))[index]
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        return number, int(index - self._starts[number])

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of parts that find their files themselves."""
        return tuple(file for part in self._parts for file in getattr(part, "files", ()))

    @property
    def dropped_empty_captions(self) -> int:
        """How many captions all parts left out because they are empty."""
        return sum(getattr(part, "dropped_empty_captions", 0) for part in self._parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """The share of each part, and the notes of the parts."""
        shares = self._weights / self._weights.sum()
        lines = [
            f"{name} {share:.1%}, its {size} records {share * len(self) / size:.3g} times an epoch"
            for name, share, size in zip(self._names, shares, self._sizes, strict=True)
        ]
        for name, part in zip(self._names, self._parts, strict=True):
            lines += [f"{name}: {note}" for note in getattr(part, "notes", ())]
        return tuple(lines)

    def strays(self) -> Iterator[Stray]:
        """Files of the parts that belong to no record."""
        for name, part in zip(self._names, self._parts, strict=True):
            for stray in getattr(part, "strays", tuple)():
                yield Stray(f"{name}: {stray.name}", stray.reason)

    def order(self, batch_size: int, seed: int) -> Order:
        """The order in which training reads (see the head of this module).

        Raises:
            ValueError: a part's share is less than one sample an epoch.
        """
        samples = steps_per_epoch(len(self), batch_size) * batch_size
        counts = _shares(samples, self._weights)
        for name, count in zip(self._names, counts, strict=True):
            if not count and samples:
                raise ValueError(
                    f"data.mixture: {name} gets none of the {samples} samples of an epoch; raise "
                    "its weight, or remove it"
                )
        return _MixedOrder(self._sizes, counts, seed)


class _MixedOrder:
    """Positions to records, `counts[i]` of each epoch to part i."""

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], seed: int):
        # Independent streams: one for the places of the parts in an epoch, one for each part.
        places, *parts = np.random.SeedSequence(seed).generate_state(1 + len(sizes)).tolist()
        self._samples = sum(counts)
        self._counts = counts
        self._bounds = np.cumsum([0, *counts])
        self._starts = np.cumsum([0, *sizes])
        self._places = grain.MapDataset.range(self._samples).shuffle(seed=places).repeat()
        self._passes = [
            grain.MapDataset.range(size).shuffle(seed=own).repeat()
            for size, own in zip(sizes, parts, strict=True)
        ]

    def __getitem__(self, position: int) -> int:
        number, place = self._part(position)
        drawn = position // self._samples * self._counts[number] + place
        return int(self._starts[number]) + int(self._passes[number][drawn])

    def another(self, position: int, rng: np.random.Generator) -> int:
        """A record of the same part, drawn at random."""
        number, _ = self._part(position)
        return int(rng.integers(self._starts[number], self._starts[number + 1]))

    def _part(self, position: int) -> tuple[int, int]:
        """Which part a position belongs to, and its place among those of that part's epoch."""
        place = int(self._places[position])
        number = int(np.searchsorted(self._bounds, place, "right")) - 1
        return number, place - int(self._bounds[number])


def _shares(samples: int, weights: np.ndarray) -> list[int]:
    """Whole numbers with the sum `samples`, as near as possible to the weights."""
    exact = samples * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind="stable")  # the largest remainders first
    counts[largest[: samples - counts.sum()]] += 1
    return counts.tolist()
