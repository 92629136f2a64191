"""Short digests of images and names, to find images under several names."""

import hashlib
from itertools import pairwise

import numpy as np

DIGEST = np.dtype([("image", np.uint64, 2), ("name", np.uint64)])


def digest(image: bytes, name: str) -> bytes:
    """The bytes of one `DIGEST`."""
    of_name = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return hashlib.blake2b(image, digest_size=16).digest() + of_name


def under_several_names(digests: np.ndarray) -> list[np.ndarray]:
    """The places of each image that has more than one name; `digests` is `[n]` of `DIGEST`."""
    if not len(digests):
        return []
    high, low = digests["image"].T
    order = np.lexsort((low, high))
    ordered = digests[order]
    new = np.any(ordered["image"][1:] != ordered["image"][:-1], axis=1)
    starts = [0, *(np.flatnonzero(new) + 1).tolist(), len(order)]
    groups = [np.sort(order[start:end]) for start, end in pairwise(starts) if end - start > 1]
    return [places for places in groups if len(np.unique(digests["name"][places])) > 1]
