"""Reads captions from common files: lines, JSON, JSON Lines, tables, Flickr tokens.

    captions.txt            a caption a line; or one of the others under this name
    captions.json           a list of texts, or of objects with "caption"
    captions.jsonl          such an entry a line
    captions.csv, .tsv      a table whose first row names a column 'caption', or one of `COLUMNS`
    results.token           NAME.jpg#0, a tab, and the caption

Other files are refused: their headers and braces would be indexed as captions.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from albef_jax.data.annotations.checks import read_json, refuse
from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import AnyPath

# Names of the column of captions, the likeliest first.
COLUMNS = ("caption", "captions", "comment", "sentence", "text", "description", "title")
_BESIDE = ("image", "image_name", "filename", "file_name", "file", "filepath", "path", "url", "id")
_DELIMITERS = ",\t;|"
_PLAIN = ("", ".txt", ".token", ".tokens")
_NAME = r"[^\t,;|]+\.(?:jpe?g|png|webp|gif|bmp|tiff?)"
_TOKEN = re.compile(rf"{_NAME}(?:#\d+)?\t\s*(\S.*)", re.IGNORECASE)
_IMAGE_FIRST = re.compile(rf"{_NAME}(?:#\d+)?\s*[\t,;|]", re.IGNORECASE)
_FORMS = (
    "give a text file with a caption a line, a .json or .jsonl file, a .csv or .tsv table with a "
    "column 'caption', or a Flickr token file (NAME.jpg#0, a tab, the caption)"
)


def read_captions(file: AnyPath) -> list[str]:
    """The captions of a file, in order, including blank ones.

    Raises:
        SearchError: none of the forms, a line or row of another form, or not UTF-8.
        ValueError: JSON that cannot be used.
    """
    readers: dict[str, Callable[[AnyPath], list[str]]] = {
        ".json": _of_json,
        ".jsonl": lambda file: _of_json_lines(file, _text_of(file)),
        ".ndjson": lambda file: _of_json_lines(file, _text_of(file)),
        ".csv": lambda file: _of_table(file, _text_of(file)),
        ".tsv": lambda file: _of_table(file, _text_of(file)),
    }
    suffix = file.suffix.lower()
    if suffix in readers:
        return readers[suffix](file)
    if suffix not in _PLAIN:
        raise SearchError(f"{file}: captions are not read from a {suffix} file; {_FORMS}")
    return _of_text(file, _text_of(file))


def _of_text(file: AnyPath, text: str) -> list[str]:
    """A caption a line, unless the first line shows another form."""
    lines = text.split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    if _TOKEN.fullmatch(first):
        return _of_token_file(file, lines)
    if first.startswith("{") and _is_json(first):
        return _of_json_lines(file, text)
    if first.startswith("[") and _is_json(text):
        return _of_json(file)
    if _delimiter(first, headed_by=_BESIDE):
        return _of_table(file, text)
    if _IMAGE_FIRST.match(first):
        raise SearchError(f"{file}: begins with the name of an image, not with a caption; {_FORMS}")
    return [line.strip() for line in lines]


def _of_token_file(file: AnyPath, lines: list[str]) -> list[str]:
    texts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _TOKEN.fullmatch(line.strip())
        if not found:
            raise SearchError(
                f"{file}, line {number}: not NAME.jpg#0, a tab and a caption, as the lines before; "
                "fix or remove it"
            )
        texts.append(found[1])
    return texts


def _of_table(file: AnyPath, text: str) -> list[str]:
    head = text.lstrip("\n").partition("\n")[0]
    delimiter = _delimiter(head)
    if delimiter is None:
        raise SearchError(
            f"{file}: its first row, {head[:80]!r}, names no column of captions; call one 'caption'"
        )
    rows = csv.reader(io.StringIO(text.lstrip("\n"), newline=""), delimiter=delimiter)
    names = _names(next(rows))
    column = names.index(next(name for name in COLUMNS if name in names))
    texts = []
    try:
        for row in rows:
            if row and len(row) <= column:
                raise SearchError(
                    f"{file}, line {rows.line_num}: has {len(row)} of {len(names)} columns, and no "
                    f"{names[column]!r}; fix or remove it"
                )
            texts += [row[column].strip()] if row else []
    except csv.Error as error:
        raise SearchError(f"{file}, line {rows.line_num}: {error}; fix or remove it") from None
    return texts


def _names(row: list[str]) -> list[str]:
    return [name.strip().lower() for name in row]


def _delimiter(head: str, headed_by: tuple[str, ...] = ()) -> str | None:
    """The delimiter of a table with this first row; None if no column is of captions.

    Args:
        headed_by: there must be a column of one of these names, too.
    """
    for delimiter in _DELIMITERS:
        names = _names(next(csv.reader([head], delimiter=delimiter), []))
        captions = any(name in COLUMNS for name in names)
        if captions and (not headed_by or any(name in headed_by for name in names)):
            return delimiter
    return None


def _of_json(file: AnyPath) -> list[str]:
    listed = read_json(file)
    if not isinstance(listed, list):
        raise SearchError(f"{file}: holds a JSON {type(listed).__name__}, not a list of captions")
    return _entries(file, enumerate(listed), "item", "items are counted from 0")


def _of_json_lines(file: AnyPath, text: str) -> list[str]:
    def parsed() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, _json_line(file, number, line)

    return _entries(file, parsed(), "line", "lines are counted from 1")


def _json_line(file: AnyPath, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SearchError(f"{file}, line {number}: not JSON ({error}); fix or remove it") from None


def _entries(file: AnyPath, entries: Any, what: str, counted: str) -> list[str]:
    problems: list[str] = []
    texts: list[str] = []
    for number, entry in entries:
        try:
            texts += _texts(entry)
        except ValueError as error:
            problems.append(f"{what} {number} {error}")
    refuse(problems, f"{file}: the captions cannot be used ({counted}):")
    return texts


def _texts(entry: Any) -> list[str]:
    """The captions in an entry of a list: itself, or its field "caption"."""
    given = entry.get("caption") if isinstance(entry, dict) else entry
    texts: list[Any] = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("is neither a text nor an object with 'caption', a text or texts")
    return texts


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _text_of(file: AnyPath) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise SearchError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SearchError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
