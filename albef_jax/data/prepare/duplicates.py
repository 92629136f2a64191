"""Finds images under several names by the digests of the stored bytes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from albef_jax.data.prepare.digests import DIGEST, under_several_names
from albef_jax.data.prepare.shard import Facts, facts_path


class Repeats(NamedTuple):
    """Records that share an image with another record.

    Attributes:
        same_name: repeats beyond the first under the same name, as in lists with one item a
            caption.
        groups: for each image under several names, those names.
    """

    same_name: int
    groups: list[list[str]]


def find_repeats(out: Path, facts: Sequence[Facts]) -> Repeats:
    """Find repeats among the digests of all shards."""
    numbers = [fact["number"] for fact in facts]
    digests = [_digests(out, number) for number in numbers]
    joined = np.concatenate([np.zeros(0, DIGEST), *digests])
    several = under_several_names(joined)
    names = _Names(out, numbers, [len(part) for part in digests])
    groups = [sorted(set(names.at(places.tolist()))) for places in several]
    return Repeats(len(joined) - len(np.unique(joined)), groups)


def _digests(out: Path, number: int) -> np.ndarray:
    return np.fromfile(facts_path(out, number).with_suffix(".digests"), DIGEST)


class _Names:
    """The names of records; a shard's names are read on access."""

    def __init__(self, out: Path, numbers: Sequence[int], lengths: Sequence[int]):
        self._out, self._numbers = out, numbers
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._read: dict[int, list[str]] = {}

    def at(self, places: Sequence[int]) -> Iterator[str]:
        for place in places:
            part = int(np.searchsorted(self._starts, place, side="right")) - 1
            if part not in self._read:
                path = facts_path(self._out, self._numbers[part]).with_suffix(".names")
                self._read[part] = json.loads(path.read_bytes())
            yield self._read[part][place - int(self._starts[part])]
