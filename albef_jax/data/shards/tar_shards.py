"""WebDataset tar shards one after the other: their samples by number, and captions where they are.

Each shard is scanned once for an index (`tar_index`); with it a sample costs one open and two or
three reads.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from albef_jax.data.annotations.checks import did_you_mean, refuse
from albef_jax.data.shards.tar_index import ShardIndex, open_index, stamp
from albef_jax.data.shards.tar_samples import IMAGE, JSON, TEXT, Stray
from albef_jax.errors import BadSample
from albef_jax.storage.paths import AnyPath, BucketPath, in_order, path_of
from albef_jax.storage.ranges import Replaced
from albef_jax.storage.retries import StorageError

_log = logging.getLogger(__name__)
_PROBES = 8
_SCANNED_AT_ONCE = 8  # threads
_FILES = {IMAGE: "images", TEXT: ".txt", JSON: ".json"}
Files = dict[int, bytes]  # of a sample, by IMAGE, TEXT and JSON


class TarShards:
    """The samples of tar shards, sorted by name. Safe to share between threads.

    Args:
        files: paths of `.tar` files.
        setting: where the files are named, for messages.
        with_images: whether each shard must have some.

    Attributes:
        paths: of the shards, sorted.
        shards: their indexes.
        notes: remarks on the shards for the user, a line each.

    Raises:
        ValueError: unusable shards, all named in one message.
    """

    def __init__(self, files: Sequence[str | AnyPath], setting: str, with_images: bool = True):
        if not files:
            raise ValueError(f"no shards given ({setting})")
        self.paths = in_order(map(path_of, files))
        self.shards, empty = _open_all(self.paths, setting, with_images)
        self._starts = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
        self.notes = tuple(self._notes(empty))
        if not len(self):
            left = next((told for shard in self.shards if (told := _left_over(shard))), "")
            raise ValueError(f"no samples in the {len(files)} shards of {setting}{left}")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def strays(self) -> Iterator[Stray]:
        """The members of all shards that belong to no sample, named `path of the shard/member`."""
        for path, shard in zip(self.paths, self.shards, strict=True):
            for name, reason in shard.strays:
                yield Stray(f"{path}/{name.decode('utf-8', 'replace')}", reason.decode())

    def _notes(self, empty: Sequence[AnyPath]) -> Iterator[str]:
        if empty:
            yield f"{len(empty)} shards hold no samples, as {empty[0]}"
        if count := sum(len(shard.strays) for shard in self.shards):
            name, reason = next(self.strays())
            yield f"{count} files in the shards belong to no sample, as {name}: {reason}"
        if again := sum(len(shard.keys) - len(np.unique(shard.keys)) for shard in self.shards):
            yield f"{again} samples have the name of an earlier one in their shard; all are kept"

    def read(self, index: int) -> tuple[str, Files]:
        """The name of a sample, `path of the shard/key`, and its files; raises `BadSample`."""
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        path, shard = self.paths[number], self.shards[number]
        row = index - int(self._starts[number])
        name = f"{path}/{shard.keys[row].decode('utf-8', 'replace')}"
        return name, read_files(path, shard, row, name)

    def check_captions(self, field: str, setting: str) -> None:
        """Refuse shards whose captions are elsewhere.

        Args:
            field: see `stored_captions`.
            setting: where it is named, for messages.

        Raises:
            ValueError: with the fields that there are.
        """
        kind = JSON if field else TEXT
        if not any((shard.places[:, kind, 0] >= 0).any() for shard in self.shards):
            remedy = self._where_captions_are(field, setting)
            raise ValueError(f"no sample has a {_FILES[kind]}{remedy}")
        if field and field not in (fields := self._fields()):
            raise ValueError(
                f"{setting}={field}: no such field in the .json files"
                f"{did_you_mean(field, fields)}; they have {', '.join(fields) or 'none'}"
            )

    def _where_captions_are(self, field: str, setting: str) -> str:
        if field:
            return f"; leave {setting} empty to read captions from .txt files"
        if fields := self._fields():
            return (
                f"; name in {setting} what holds the caption in its .json: "
                f"one of {', '.join(fields)}"
            )
        return " or .json; write the shards with captions"

    def _fields(self) -> list[str]:
        """The fields of some .json files of the first shard that has any."""
        fields: dict[str, None] = {}
        for start, shard in zip(self._starts[:-1], self.shards, strict=True):
            for row in np.flatnonzero(shard.places[:, JSON, 0] >= 0)[:_PROBES]:
                with suppress(BadSample, ValueError, RecursionError):
                    found = json.loads(self.read(int(start + row))[1][JSON])
                    fields |= dict.fromkeys(found if isinstance(found, dict) else ())
            if fields:
                break
        return list(fields)


def read_files(path: AnyPath, shard: ShardIndex, row: int, name: str) -> Files:
    """The files of a shard's sample.

    Raises:
        BadSample: the shard has vanished, or is no longer that of the index.
    """
    there = {
        kind: (int(offset), int(size))
        for kind, (offset, size) in enumerate(shard.places[row])
        if offset >= 0
    }
    try:
        contents = _read_spans(path, shard, list(there.values()))
    except Replaced:
        contents = None
    except OSError as error:
        raise BadSample(name, f"cannot be read: {error.strerror}") from None
    if contents is None:
        raise BadSample(name, "the shard was changed during the run; start it again")
    return dict(zip(there, contents, strict=True))


def _read_spans(
    path: AnyPath, shard: ShardIndex, spans: Sequence[tuple[int, int]]
) -> list[bytes] | None:
    """Parts of a shard; None if it is no longer that of the index."""
    if isinstance(path, BucketPath):
        return path.read_spans(spans) if stamp(path.stat()) == shard.stamp else None
    with path.open("rb", buffering=0) as file:
        if stamp(os.fstat(file.fileno())) != shard.stamp:
            return None
        return [os.pread(file.fileno(), size, offset) for offset, size in spans]


def stored_image(name: str, files: Files) -> bytes:
    """The image of a sample, not decoded; raises `BadSample` if there is none."""
    if IMAGE not in files:
        raise BadSample(name, "there is no image of this name in the shard")
    return files[IMAGE]


def stored_captions(name: str, files: Files, field: str) -> Any:
    """The caption of a sample as stored, mostly a text or a list of them.

    Args:
        field: of the .json, which holds it; empty for the .txt.

    Raises:
        BadSample: no such file or field, or a damaged one.
    """
    kind = JSON if field else TEXT
    if kind not in files:
        raise BadSample(name, f"there is no {_FILES[kind]} of this name in the shard")
    try:
        text = files[kind].decode("utf-8")
        return json.loads(text)[field] if field else text
    except UnicodeDecodeError:
        raise BadSample(name, f"its {_FILES[kind]} is not UTF-8") from None
    except (KeyError, TypeError):
        raise BadSample(name, f"its .json has no {field!r}") from None
    except (ValueError, RecursionError):
        raise BadSample(name, "its .json is not JSON") from None


def _open_all(
    paths: Sequence[AnyPath], setting: str, with_images: bool
) -> tuple[list[ShardIndex], list[AnyPath]]:
    """The index of each shard, and which shards are empty."""
    problems: list[str] = []
    shards: list[ShardIndex] = []
    empty: list[AnyPath] = []
    told = False
    for number, (path, (shard, kept)) in enumerate(zip(paths, _indexes(paths), strict=True)):
        if isinstance(shard, str):
            problems.append(shard)
            continue
        if not (kept or told):
            told = True
            _log.warning("reading the headers of %d shards, once", len(paths) - number)
        if not len(shard.keys):
            empty.append(path)
        elif with_images and not (shard.places[:, IMAGE, 0] >= 0).any():
            problems.append(f"{path}: has no images{_left_over(shard)}; remove it from {setting}")
        shards.append(shard)
    refuse(problems, f"the shards of {setting} cannot be used:")
    return shards, empty


def _indexes(paths: Sequence[AnyPath]) -> Iterator[tuple[ShardIndex | str, bool]]:
    """The index of each shard, or what is wrong with it; and whether it was kept from earlier."""

    def opened(path: AnyPath) -> tuple[ShardIndex | str, bool]:
        try:
            return open_index(path)
        except StorageError:
            raise
        except ValueError as error:
            return f"{path}: {error}", True
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror}", True

    with ThreadPoolExecutor(_SCANNED_AT_ONCE) as pool:
        yield from pool.map(opened, paths)


def _left_over(shard: ShardIndex) -> str:
    """The contents of a shard without images, for a message."""
    if not len(shard.strays):
        return ""
    name, reason = (text.decode("utf-8", "replace") for text in shard.strays[0])
    return f", but {len(shard.strays)} files that belong to no sample, as {name}: {reason}"
