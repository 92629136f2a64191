"""Annotation files: checked in full when they are opened, every problem in one message.

A source says what an item must hold with a `parse` function; this module reads the files, gathers
what is wrong with all of them, and reads the pictures that items name.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from albef_jax.data.images import decode
from albef_jax.data.records import BadSample
from albef_jax.data.text import well_formed

_PROBES = 64
_PROBLEMS_SHOWN = 20

Row = TypeVar("Row")


def parsed_items(
    files: Sequence[str | Path],
    parse: Callable[[dict[str, Any]], Row],
    setting: str = "data.train_files",
) -> Iterator[Row]:
    """What `parse` makes of the items of annotation files, one file after the other.

    Args:
        files: paths of JSON files, each a list of objects.
        parse: raises `ValueError` for an item that cannot be used, saying why.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: no files, unusable files or unusable items, all named in one message. It comes
            after the last item, so use no item before the end is reached.
    """
    if not files:
        raise ValueError(f"no annotation files given ({setting})")
    problems: list[str] = []
    for file in files:
        try:
            items = read_list(Path(file), setting)
        except ValueError as error:
            problems.append(str(error))
            continue
        for number, item in enumerate(items):
            try:
                if not isinstance(item, dict):
                    kind = type(item).__name__
                    raise ValueError(f"is a {kind}, not an object with named fields; remove it")
                yield parse(item)
            except ValueError as error:
                problems.append(f"{file}, item {number}: {error}")
    refuse(problems)


def refuse(
    problems: Sequence[str],
    head: str = "the annotations cannot be used (items are counted from 0):",
) -> None:
    """Raise a `ValueError` that lists the problems, if there are any; the first twenty in full."""
    if not problems:
        return
    shown = list(problems[:_PROBLEMS_SHOWN])
    if more := len(problems) - len(shown):
        shown.append(f"... and {more} more")
    raise ValueError("\n  ".join([head, *shown]))


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: the file is missing, is not UTF-8, or not JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); it must hold one JSON list") from None


def read_list(file: Path, setting: str = "data.train_files") -> list:
    """The items of an annotation file.

    Raises:
        ValueError: the file is missing, is not UTF-8, not JSON, not a list, or is an empty list.
    """
    items = read_json(file)
    if not isinstance(items, list):
        kind = type(items).__name__
        raise ValueError(f"{file}: holds a JSON {kind}, not a list of items; wrap them in [ ]")
    if not items:
        raise ValueError(f"{file}: the list is empty; remove the file from {setting}")
    return items


def image_of(item: dict[str, Any]) -> str:
    """The item's 'image': the path of a picture."""
    image = item.get("image")
    if not isinstance(image, str) or not image:
        raise ValueError("'image' must be the path of a picture")
    return image


def text_of(item: dict[str, Any], field: str) -> str:
    """A field that must hold a text, and not a blank one."""
    text = item.get(field)
    if field not in item:
        raise ValueError(f"has no {field!r}; add one or remove the item")
    if not isinstance(text, str):
        raise ValueError(f"{field!r} must be a text, not {text!r}")
    if not text.strip():
        raise ValueError(f"{field!r} is empty; write one or remove the item")
    return well_formed(text)


def usable_captions(name: str, given: Any) -> tuple[str, ...]:
    """The captions of a record, blank ones dropped.

    Args:
        name: the record's name, for errors.
        given: a text or a list of texts.

    Raises:
        BadSample: something else, or no caption but blank ones.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadSample(name, "its caption is neither a text nor a list of texts")
    if captions := tuple(well_formed(text) for text in texts if text.strip()):
        return captions
    raise BadSample(name, "its caption is empty")


def did_you_mean(given: Any, options: Iterable[str]) -> str:
    """The end of a message about a word that is none of the options: '; did you mean ...?'."""
    folded = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(str(given).casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def read_picture(path: Path, upright: bool = False) -> np.ndarray:
    """A picture as uint8 RGB `[H, W, 3]`; raises `BadSample` if it is missing or unusable."""
    return decode(read_bytes(path), str(path), upright)


def read_bytes(path: Path) -> bytes:
    """What a picture file holds; raises `BadSample` if it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSample(str(path), f"cannot be read: {reason}") from None


def probe_pictures(root: Path, images: Sequence[str], setting: str = "data.image_root") -> None:
    """Look for some pictures, spread over the list.

    Raises:
        ValueError: more than half of them are not there.
    """
    places = np.unique(np.linspace(0, len(images) - 1, _PROBES).astype(int)) if images else ()
    paths = [root / images[place] for place in places]
    missing = [path for path in paths if not _is_file(path)]
    if len(missing) > len(paths) / 2:
        raise ValueError(
            f"{setting}={root}: {len(missing)} of {len(paths)} pictures looked for are not there, "
            f"as {missing[0]}; image paths in the annotations start from {setting}"
        )


def running_numbers(keys: Iterable[Any]) -> np.ndarray:
    """A number for each key, equal for equal keys, in order of first appearance; int32 `[n]`."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file can have such a name
        return False
