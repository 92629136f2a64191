"""Pairs with one record an image: the captions of all rows of an image, joined.

Lists with one caption a row name an image several times. Retrieval has one candidate per image, and
every caption of an image is right for it, so evaluation reads such lists through this class.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair


class PairsByImage:
    """Random access to the images of a list, in order of first appearance.

    Args:
        pairs: rows with an `image_id`; rows with equal ids show one image.

    Attributes:
        notes: those of the list, and whether rows were joined.
    """

    def __init__(self, pairs: JsonPairs):
        self._pairs = pairs
        _, first, image_of_row = np.unique(pairs.image_ids, return_index=True, return_inverse=True)
        rows = np.argsort(image_of_row, kind="stable")
        by_id = np.split(rows, np.cumsum(np.bincount(image_of_row))[:-1])
        self._rows = [by_id[place] for place in np.argsort(first)]
        self.notes = pairs.notes
        if len(self) < len(pairs):
            self.notes += (f"the {len(pairs)} rows show {len(self)} images",)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Pair:
        """The image at `index` with all its captions; raises `BadSample` if it is unusable."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The image at `index` as bytes, with all its captions; raises `BadSample`."""
        rows = self._rows[index]
        found = self._pairs.encoded(int(rows[0]))
        captions = tuple(chain.from_iterable(self._pairs.texts(int(row)) for row in rows))
        return EncodedPair(found.name, found.data, captions, found.image_id)

    def image_paths(self) -> Iterator[str]:
        """The path of each row's image."""
        return self._pairs.image_paths()

    @property
    def upright(self) -> bool:
        """Whether the EXIF orientation is applied."""
        return self._pairs.upright

    @property
    def dropped_empty_captions(self) -> int:
        """How many captions were left out because they are empty."""
        return self._pairs.dropped_empty_captions
