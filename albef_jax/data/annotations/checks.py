"""Reads annotation files: all items are checked at once, with every problem in one message.

A source defines a valid item by a `parse` function; this module reads the files, collects the
problems of all of them, and reads the images that items name.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from albef_jax.data import releases
from albef_jax.data.annotations.files import read_json
from albef_jax.data.images.decode import decode
from albef_jax.data.images.paths import on_this_machine, probe
from albef_jax.data.releases.formats import PICKLES, REFER
from albef_jax.data.tokenizer import well_formed
from albef_jax.errors import BadSample
from albef_jax.storage.addresses import in_bucket
from albef_jax.storage.paths import AnyPath, path_of
from albef_jax.storage.retries import StorageError

_PROBLEMS_SHOWN = 20
_FIELDS_SHOWN = 5

Row = TypeVar("Row")


def parsed_items(
    files: Sequence[str | AnyPath],
    parse: Callable[[dict[str, Any]], Row],
    setting: str = "data.train_files",
) -> Iterator[Row]:
    """The parsed items of annotation files, one file after the other.

    Args:
        files: paths of JSON files, each a list of objects.
        parse: raises `ValueError`, with the reason, for an unusable item.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: no files, unusable files or unusable items, all named in one message. It is
            raised after the last item, so use no item before the end.
    """
    if not files:
        raise ValueError(f"no annotation files given ({setting})")
    problems: list[str] = []
    for file in files:
        try:
            items = read_list(path_of(file), setting)
        except StorageError:
            raise
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


def read_list(file: AnyPath, setting: str = "data.train_files") -> list:
    """The items of an annotation file.

    Raises:
        ValueError: the file is missing, not UTF-8, not JSON, not a list, or an empty list; or it is
            a public annotation file, and the message has the command that converts it.
    """
    if file.suffix in PICKLES:
        raise ValueError(f"{file}: a pickle; if it is REFER's, {releases.remedy(file, REFER)}")
    items = read_json(file)
    if (found := releases.recognised(items)) is not None:
        raise ValueError(
            f"{file}: {found.name}, as in the official code; {releases.remedy(file, found)}"
        )
    if isinstance(items, dict):
        fields = ", ".join(map(repr, list(items)[:_FIELDS_SHOWN])) or "no fields"
        raise ValueError(
            f"{file}: holds one object with {fields}, not a list of items; it is of no official "
            "format known here"
        )
    if not isinstance(items, list):
        raise ValueError(f"{file}: holds a JSON {type(items).__name__}, not a list of items")
    if not items:
        raise ValueError(f"{file}: the list is empty; remove the file from {setting}")
    return items


def image_of(item: dict[str, Any]) -> str:
    """The item's 'image': the path of an image."""
    image = item.get("image")
    if not isinstance(image, str) or not image:
        raise ValueError("'image' must be the path of an image")
    return image


def text_of(item: dict[str, Any], field: str) -> str:
    """A field that must hold a text, and not a blank one."""
    text = item.get(field)
    if field not in item:
        raise ValueError(f"has no {field!r}; add one or remove the item{unread(item, field)}")
    if not isinstance(text, str):
        raise ValueError(f"{field!r} must be a text, not {text!r}")
    if not text.strip():
        raise ValueError(f"{field!r} is empty; write one or remove the item")
    return well_formed(text)


def unread(item: dict[str, Any], field: str) -> str:
    """A hint for an item that has the plural of a missing field; else empty."""
    return f"; its {field + 's'!r} is not read" if f"{field}s" in item else ""


def usable_captions(name: str, given: Any) -> tuple[str, ...]:
    """The captions of a record, blank ones dropped.

    Args:
        name: the record's name, for errors.
        given: a text or a list of texts.

    Raises:
        BadSample: another type, or only blank captions.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadSample(name, "its caption is neither a text nor a list of texts")
    if captions := tuple(well_formed(text) for text in texts if text.strip()):
        return captions
    raise BadSample(name, "its caption is empty")


def did_you_mean(given: Any, options: Iterable[str]) -> str:
    """The hint '; did you mean ...?' for a word that is not among the options."""
    folded = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(str(given).casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def read_image(path: AnyPath, upright: bool = False) -> np.ndarray:
    """An image as uint8 RGB `[H, W, 3]`; raises `BadSample` if it is missing or unusable."""
    return decode(read_bytes(path), str(path), upright)


def read_bytes(path: AnyPath) -> bytes:
    """The bytes of an image file; raises `BadSample` if it cannot be read.

    Raises:
        StorageError: a bucket gives no answer for long, which is not the image's fault.
    """
    try:
        return on_this_machine(path).read_bytes()
    except StorageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSample(str(path), f"cannot be read: {reason}") from None


def probe_images(root: AnyPath, images: Sequence[str], setting: str = "data.image_root") -> None:
    """Probe some images, spread over the list.

    Raises:
        ValueError: more than half of them are missing or unreadable.
    """
    probe(root, images, setting)


def joined(root: AnyPath, images: Iterable[str]) -> Iterator[str]:
    """Paths as texts, with the root before relative ones; fast enough for millions."""
    start = f"{root}/"
    return (
        image if image.startswith("/") or in_bucket(image) else start + image for image in images
    )


def running_numbers(keys: Iterable[Any]) -> np.ndarray:
    """A number for each key, equal for equal keys, in order of first appearance; int32 `[n]`."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
