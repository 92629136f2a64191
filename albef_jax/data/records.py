"""What a data source hands out: records, and the error for a record that cannot be read.

Every source is random access (`__len__`, `__getitem__`), so that shuffling, host sharding and exact
resume are the pipeline's business alone and the same for all of them.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Pair:
    """One picture with its captions.

    Attributes:
        name: what a person would look for: a file path, or `scenes/train/12`.
        image: uint8 RGB `[H, W, 3]`.
        captions: at least one, as written (cleaning happens later).
        image_id: equal for records that show the same picture.
    """

    name: str
    image: np.ndarray
    captions: tuple[str, ...]
    image_id: int


class BadSample(Exception):
    """A record that cannot be used; the pipeline replaces and reports it.

    Args:
        name: the record's name (see `Pair.name`).
        reason: one line a person can act on.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self):
        return (BadSample, (self.name, self.reason))


class PairSource(Protocol):
    """Random access to pairs. `__getitem__` raises `BadSample` for an unusable record."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...
