"""Pairs in the published annotation format: a JSON list of `{"image": path, "caption": text(s)}`.

The lists are checked in full when they are opened; pictures are opened when they are asked for.
Items are kept as flat columns, which keeps millions of them cheap.
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.data.images import decode
from albef_jax.data.records import BadSample, Pair
from albef_jax.data.text import well_formed

_PROBES = 64
_PROBLEMS_SHOWN = 20
_MAX_ID = 2**31


class JsonPairs:
    """Random access to the pairs of one or more annotation files, one after the other.

    An integer "image_id" is kept if every item has one and each stands for one path only; else
    equal paths share a running number. Empty captions are dropped from items with other captions.

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.

    Attributes:
        dropped_empty_captions: how many captions were left out because they are empty.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of some
            pictures probed across the list are not there.
    """

    def __init__(self, files: Sequence[str | Path], image_root: str | Path):
        if not files:
            raise ValueError("no annotation files given (data.train_files)")
        self._root = Path(image_root)
        self._images: list[str] = []
        self._captions: list[str] = []
        self._starts = array("q", [0])
        self.dropped_empty_captions = 0
        given_ids: list[Any] = []
        _refuse([problem for file in files for problem in self._add(Path(file), given_ids)])
        self._image_ids = _image_ids(self._images, given_ids)
        self._probe_pictures()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`; raises `BadSample` if its picture is missing or unusable."""
        index = range(len(self))[index]
        path = self._root / self._images[index]
        captions = tuple(self._captions[self._starts[index] : self._starts[index + 1]])
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name
            reason = getattr(error, "strerror", None) or str(error)
            raise BadSample(str(path), f"cannot be read: {reason}") from None
        return Pair(str(path), decode(data, str(path)), captions, int(self._image_ids[index]))

    def _add(self, file: Path, given_ids: list[Any]) -> Iterator[str]:
        """Take over the items of a file; yields what is wrong with it."""
        try:
            items = read_list(file)
        except ValueError as error:
            yield str(error)
            return
        for number, item in enumerate(items):
            if problem := _problem(item):
                yield f"{file}, item {number}: {problem}"
                continue
            texts = [item["caption"]] if isinstance(item["caption"], str) else item["caption"]
            kept = [well_formed(text) for text in texts if text.strip()]
            self.dropped_empty_captions += len(texts) - len(kept)
            self._images.append(item["image"])
            self._captions += kept
            self._starts.append(len(self._captions))
            given_ids.append(item.get("image_id"))

    def _probe_pictures(self) -> None:
        places = np.unique(np.linspace(0, len(self) - 1, _PROBES).astype(int))
        paths = [self._root / self._images[place] for place in places]
        missing = [path for path in paths if not _is_file(path)]
        if len(missing) > len(paths) / 2:
            raise ValueError(
                f"data.image_root={self._root}: {len(missing)} of {len(paths)} pictures looked for "
                f"are not there, as {missing[0]}; image paths in the annotations start from "
                "data.image_root"
            )


def read_list(file: Path) -> list:
    """The items of an annotation file.

    Raises:
        ValueError: the file is missing, is not UTF-8, not JSON, not a list, or is an empty list.
    """
    try:
        items = json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); it must hold one JSON list") from None
    if not isinstance(items, list):
        kind = type(items).__name__
        raise ValueError(f"{file}: holds a JSON {kind}, not a list of items; wrap them in [ ]")
    if not items:
        raise ValueError(f"{file}: the list is empty; remove the file from data.train_files")
    return items


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _refuse(problems: list[str]) -> None:
    if not problems:
        return
    shown = problems[:_PROBLEMS_SHOWN]
    if more := len(problems) - len(shown):
        shown.append(f"... and {more} more")
    head = "the annotations cannot be used (items are counted from 0):"
    raise ValueError("\n  ".join([head, *shown]))


def _problem(item: Any) -> str | None:
    if not isinstance(item, dict):
        return f"is a {type(item).__name__}, not an object with 'image' and 'caption'"
    image, caption = item.get("image"), item.get("caption")
    if not isinstance(image, str) or not image:
        return "'image' must be the path of a picture"
    if "caption" not in item:
        return "has no 'caption'; add one or remove the item"
    texts = [caption] if isinstance(caption, str) else caption
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return "'caption' must be a text or a list of texts"
    if not any(text.strip() for text in texts):
        return "'caption' is empty; write one or remove the item"
    return None


def _image_ids(images: Sequence[str], given: Sequence[Any]) -> np.ndarray:
    """The ids as given where they can serve, else each distinct path's running number; int32."""
    if all(type(number) is int and 0 <= number < _MAX_ID for number in given):
        path_of: dict[int, str] = {}
        if all(path_of.setdefault(*pair) == pair[1] for pair in zip(given, images, strict=True)):
            return np.array(given, np.int32)
    return _running_numbers(images)


def _running_numbers(keys: Iterable[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
