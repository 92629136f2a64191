"""Checked access to fields of public annotation files; errors name the item."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Item = dict[str, Any]


class Given(NamedTuple):
    """A given file: its name and its contents."""

    file: str
    content: Any


class Converted(NamedTuple):
    """Our items, and the omissions in words."""

    items: list[Item]
    notes: tuple[str, ...] = ()


class Options(NamedTuple):
    """Options of a conversion.

    Attributes:
        splits: the splits to take from a file with several; empty for all.
        images: prefix of each image path, such as `val2014/`.
        captions: make captions of questions with their answers, for pre-training.
    """

    splits: tuple[str, ...] = ()
    images: str = ""
    captions: bool = False


def items(given: Given, field: str = "") -> Iterator[tuple[str, Item]]:
    """The objects of a list, or of the list under a field, and the place of each for messages.

    Raises:
        ValueError: there is no such list of objects.
    """
    found = given.content.get(field) if field else given.content
    if not isinstance(found, list):
        raise ValueError(f"{given.file}: {field!r} is no list")
    for number, item in enumerate(found):
        place = f"{given.file}{f', {field}' * bool(field)}, item {number}"
        if not isinstance(item, dict):
            raise ValueError(f"{place}: is a {type(item).__name__}, not an object")
        yield place, item


def take(place: str, item: Item, field: str, kind: type) -> Any:
    """A field of an item.

    Raises:
        ValueError: it is missing, or of another kind.
    """
    value = item.get(field)
    if type(value) is not kind:
        name = {str: "a text", int: "a whole number", list: "a list"}[kind]
        raise ValueError(f"{place}: {field!r} must be {name}, not {value!r}")
    return value


def chosen(found: Iterable[tuple[str, Item]], given: Given, options: Options) -> dict[str, list]:
    """The items of the chosen splits, by split.

    Raises:
        ValueError: a chosen split does not exist.
    """
    by_split: dict[str, list] = {}
    for split, item in found:
        by_split.setdefault(split, []).append(item)
    for split in options.splits:
        if split not in by_split:
            raise ValueError(
                f"{given.file}: has no split {split!r}; it has {', '.join(sorted(by_split))}"
            )
    return {split: by_split[split] for split in options.splits or by_split}
