"""Pairs in the official annotation format: a JSON list of `{"image": path, "caption": text(s)}`.

The lists are checked in full when they are opened; images are opened on access. Items are kept as
flat columns, so that millions of them take little memory.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from posixpath import normpath
from typing import Any, NamedTuple

import numpy as np

from albef_jax.data.annotations.checks import (
    image_of,
    joined,
    parsed_items,
    probe_images,
    read_bytes,
    running_numbers,
    unread,
)
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair
from albef_jax.data.tokenizer import well_formed
from albef_jax.storage.paths import AnyPath, path_of, under

_MAX_ID = 2**31


class JsonPairs:
    """Random access to the pairs of one or more annotation files, one after the other.

    An "image_id", a text or an integer, is used if every item has one and each stands for one path
    only; otherwise equal paths share a number, and `notes` reports it. A path with several ids is
    one image, under its first id. Integers are kept, texts are numbered in order. Empty captions
    are dropped from items with other captions.

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.
        setting: where the files are named in the configuration, for messages.

    Attributes:
        dropped_empty_captions: how many captions were left out because they are empty.
        image_ids: int32 `[n]`, equal for rows that show the same image.
        notes: remarks on the annotations for the user, a line each.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of the
            probed images are missing.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        image_root: str | AnyPath,
        setting: str = "data.train_files",
    ):
        self._root = path_of(image_root)
        self._images: list[str] = []
        self._captions: list[str] = []
        self._starts = array("q", [0])
        self.dropped_empty_captions = 0
        given_ids: list[Any] = []
        for image, texts, given_id in parsed_items(files, _parse, setting):
            kept = [well_formed(text) for text in texts if text.strip()]
            self.dropped_empty_captions += len(texts) - len(kept)
            self._images.append(image)
            self._captions += kept
            self._starts.append(len(self._captions))
            given_ids.append(given_id)
        self.image_ids, self.notes = _image_ids(self._images, given_ids)
        probe_images(self._root, self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`; raises `BadSample` if its image is missing or unusable."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index` with its image's bytes; raises `BadSample` if there are none."""
        index = range(len(self))[index]
        path = under(self._root, self._images[index])
        image_id = int(self.image_ids[index])
        return EncodedPair(str(path), read_bytes(path), self.texts(index), image_id)

    def image_paths(self) -> Iterator[str]:
        """The path of each row's image."""
        return joined(self._root, self._images)

    def texts(self, index: int) -> tuple[str, ...]:
        """The captions of the row at `index`."""
        return tuple(self._captions[self._starts[index] : self._starts[index + 1]])


def _parse(item: dict[str, Any]) -> tuple[str, list[str], Any]:
    image, caption = image_of(item), item.get("caption")
    if "caption" not in item:
        raise ValueError(f"has no 'caption'; add one or remove the item{unread(item, 'caption')}")
    texts = [caption] if isinstance(caption, str) else caption
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("'caption' must be a text or a list of texts")
    if not any(text.strip() for text in texts):
        raise ValueError("'caption' is empty; write one or remove the item")
    return image, texts, item.get("image_id")


def _image_ids(paths: Sequence[str], given: Sequence[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The given ids if they are usable, else a number for each path; int32; and notes."""
    images = [normpath(path) for path in paths]
    if not all(type(key) in (int, str) for key in given):
        return running_numbers(images), ()
    if merged := _several(zip(given, images, strict=True)):
        note = (
            f"image_id {merged.example!r} stands for {merged.first} and for {merged.second}"
            f"{f', and {merged.more} more ids for several images each' * (merged.more > 0)}: "
            "no image_id is used, equal paths are taken for equal images"
        )
        return running_numbers(images), (note,)
    notes: tuple[str, ...] = ()
    if split := _several(zip(images, given, strict=True)):
        more = f", and {split.more} more images have several" * (split.more > 0)
        notes = (
            f"{split.example} has the image_id {split.first!r} and the image_id {split.second!r}"
            f"{more}: equal paths are one image, under its first id",
        )
        first_id: dict[str, Any] = {}
        given = [first_id.setdefault(*row) for row in zip(images, given, strict=True)]
    if all(type(key) is int and 0 <= key < _MAX_ID for key in given):
        return np.array(given, np.int32), notes
    return running_numbers(given), notes


class _Several(NamedTuple):
    """A key with two of its values, and the number of further such keys."""

    example: Any
    first: Any
    second: Any
    more: int


def _several(rows: Iterable[tuple[Any, Any]]) -> _Several | None:
    """Keys with more than one value; None if there are none."""
    value_of: dict[Any, Any] = {}
    others: dict[Any, Any] = {}
    for key, value in rows:
        if value_of.setdefault(key, value) != value:
            others.setdefault(key, value)
    if not others:
        return None
    key, other = next(iter(others.items()))
    return _Several(key, value_of[key], other, len(others) - 1)
