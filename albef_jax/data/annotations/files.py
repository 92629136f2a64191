"""Reads JSON files (one value, or one a line in .jsonl; compressed as .gz or not), and lines."""

import gzip
import json
import zlib
from typing import Any

from albef_jax.storage.paths import AnyPath

_LINES = (".jsonl", ".ndjson")


def read_json(file: AnyPath) -> Any:
    """The contents of a JSON file; for a `.jsonl` file, the list of its lines.

    Raises:
        ValueError: the file is missing, damaged, not UTF-8, or not JSON.
    """
    try:
        data = file.read_bytes()
        if file.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file}: not a whole gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    name = file.name.lower().removesuffix(".gz")
    try:
        return _lines(data, file) if name.endswith(_LINES) else json.loads(data)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}){_remedy(data)}") from None


def read_lines(file: AnyPath) -> list[str]:
    """The lines of a text file, without the white space around them.

    Raises:
        ValueError: the file is missing, unreadable, or not UTF-8.
    """
    try:
        return [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None


def _lines(data: bytes, file: AnyPath) -> list[Any]:
    items = []
    for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            items.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{file}, line {number}: not JSON ({error})") from None
    return items


def _remedy(data: bytes) -> str:
    """A hint for the usual mistake, one object a line."""
    first, _, rest = data.strip().partition(b"\n")
    try:
        if rest and isinstance(json.loads(first), dict):
            return "; it has one object a line: give it a name that ends in .jsonl"
    except (ValueError, RecursionError):
        pass
    return "; it must hold one JSON list"
