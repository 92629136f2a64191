"""Checks a data set for problems before training."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from albef_jax.data.images.decode import decode
from albef_jax.data.prepare.digests import DIGEST, digest, under_several_names
from albef_jax.data.prepare.lengths import Lengths
from albef_jax.data.records import EncodedPairs
from albef_jax.data.tokenizer import clean_caption
from albef_jax.errors import BadSample

UNUSABLE, WORDLESS, TINY, TWICE = "unusable", "no words", "tiny image", "image twice"
STRAY = "in no sample"  # a file in a tar shard
PROBLEMS = (UNUSABLE, WORDLESS, TINY, TWICE, STRAY)
NOT_RGB = "not RGB"  # converted in training, so not a problem
_AHEAD = 1024  # items that the threads get at a time
_IMAGES, _TEXTS = ("image", "left", "right"), ("captions", "question", "sentence", "text")


class Found(NamedTuple):
    """A finding about one item: a kind above, the item's name, and details."""

    kind: str
    name: str
    detail: str


@dataclass
class Findings:
    """The result of a check.

    Attributes:
        lengths: of all texts.
        checked: number of checked items.
        found: in order of the items, then repeated images, then files of no item.
    """

    lengths: Lengths
    checked: int = 0
    found: list[Found] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """The number of findings of each kind."""
        return Counter(one.kind for one in self.found)


class _Looked(NamedTuple):
    """One checked item. `digest` is that of its images; empty for an unusable one."""

    found: list[Found]
    texts: Sequence[str]
    digest: bytes


def check(
    source: Any,
    lengths: Lengths,
    *,
    smallest: int,
    threads: int,
    indices: Sequence[int],
    looked_at_one: Callable[[], Any] = lambda: None,
) -> Findings:
    """Check items of a source of any kind of `albef_jax.data.records`.

    Args:
        source: random access.
        lengths: counts the texts.
        smallest: side in pixels below which an image is tiny.
        threads: that read and decode.
        indices: of the items.
        looked_at_one: called after each item.
    """
    findings = Findings(lengths)
    digests, places = [], []
    for index, looked in zip(indices, _walk(source, indices, smallest, threads), strict=True):
        findings.checked += 1
        findings.found += looked.found
        lengths.add(looked.texts)
        if looked.digest:
            digests.append(looked.digest)
            places.append(index)
        looked_at_one()
    found = under_several_names(np.frombuffer(b"".join(digests), DIGEST))
    findings.found += [_twice(source, [places[place] for place in group]) for group in found]
    findings.found += [Found(STRAY, *stray) for stray in getattr(source, "strays", tuple)()]
    return findings


def _walk(source: Any, indices: Sequence[int], smallest: int, threads: int) -> Iterator[_Looked]:
    """Check in order, a block at a time, so that memory stays small for millions of items."""
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(indices), _AHEAD):
            stretch = indices[start : start + _AHEAD]
            yield from pool.map(lambda index: _look(source, index, smallest), stretch)


def _look(source: Any, index: int, smallest: int) -> _Looked:
    found: list[Found] = []
    try:
        if isinstance(source, EncodedPairs):
            record: Any = source.encoded(index)
            images = [decode(record.data, record.name)]
            found += _colours(record.name, record.data)
            stored = record.data
        else:
            record = source[index]
            images = [getattr(record, key) for key in _IMAGES if hasattr(record, key)]
            stored = b"".join(str(one.shape).encode() + one.tobytes() for one in images)
    except BadSample as bad:
        return _Looked([Found(UNUSABLE, bad.name, bad.reason)], (), b"")
    texts = _texts(record)
    found += _tiny(record.name, images, smallest)
    found += [
        Found(WORDLESS, record.name, f"nothing is left of {text!r} after cleaning")
        for text in texts
        if not clean_caption(text, 1).strip()
    ]
    return _Looked(found, texts, digest(stored, record.name))


def _texts(record: Any) -> tuple[str, ...]:
    texts = [getattr(record, key) for key in _TEXTS if hasattr(record, key)]
    return texts[0] if isinstance(texts[0], tuple) else tuple(texts)


def _colours(name: str, data: bytes) -> Iterator[Found]:
    with Image.open(io.BytesIO(data)) as image:
        if image.mode != "RGB":
            yield Found(NOT_RGB, name, f"{image.format} in mode {image.mode}")


def _tiny(name: str, images: Iterable[np.ndarray], smallest: int) -> Iterator[Found]:
    for image in images:
        height, width = image.shape[:2]
        if min(height, width) < smallest:
            yield Found(TINY, name, f"{width} x {height} pixels")


def _twice(source: Any, places: Sequence[int]) -> Found:
    """Repeated images. Names are read again, since few items repeat and names take memory."""
    read = source.encoded if isinstance(source, EncodedPairs) else source.__getitem__
    first, *others = dict.fromkeys(read(place).name for place in places)
    return Found(TWICE, first, f"the same image as {', '.join(others)}")
