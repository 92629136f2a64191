"""Pairs in WebDataset tar shards, as img2dataset writes them, with random access.

Each shard is scanned once for an index (`tar_index`); with it a sample costs one open and two or
three reads. Shuffling and resuming are exact, as for any other source.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.data.annotations.checks import did_you_mean, refuse, usable_captions
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair
from albef_jax.data.shards.tar_index import ShardIndex, open_index, stamp
from albef_jax.data.shards.tar_samples import IMAGE, JSON, TEXT, Stray
from albef_jax.errors import BadSample

_log = logging.getLogger(__name__)
_PROBES = 8


class TarPairs:
    """Random access to the pairs of tar shards, sorted by name. Safe to share between threads.

    Each sample has its own `image_id`. A sample without image or caption, or with an unusable
    one, is a `BadSample`, as is any sample of a shard that changes or vanishes during a run.

    Args:
        files: paths of `.tar` files.
        caption_field: the field of a sample's .json with the caption, a text or a list of texts;
            empty for the caption in its .txt.
        setting: where the files are named in the configuration, for messages.

    Attributes:
        notes: remarks on the shards for the user, a line each.

    Raises:
        ValueError: unusable shards, all named in one message; or no captions where they should be.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | Path],
        caption_field: str = "",
        setting: str = "data.train_files",
    ):
        if not files:
            raise ValueError(f"no shards given ({setting})")
        self._paths = sorted(map(Path, files))
        self._field = caption_field
        self._shards, empty = _open_all(self._paths, setting)
        self._starts = np.cumsum([0, *(len(shard.keys) for shard in self._shards)])
        self.notes = tuple(self._notes(empty))
        if not len(self):
            left = next((told for shard in self._shards if (told := _left_over(shard))), "")
            raise ValueError(f"no samples in the {len(files)} shards of {setting}{left}")
        self._check_captions()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`, named `path of the shard/key`; raises `BadSample`."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index`, not decoded; raises `BadSample` if a part is missing."""
        index = range(len(self))[index]
        name, files = self._read(index)
        texts = self._texts(name, files)
        if IMAGE not in files:
            raise BadSample(name, "there is no image of this name in the shard")
        return EncodedPair(name, files[IMAGE], usable_captions(name, texts), index)

    def strays(self) -> Iterator[Stray]:
        """The members of all shards that belong to no sample, named `path of the shard/member`."""
        for path, shard in zip(self._paths, self._shards, strict=True):
            for name, reason in shard.strays:
                yield Stray(f"{path}/{name.decode('utf-8', 'replace')}", reason.decode())

    def _notes(self, empty: Sequence[Path]) -> Iterator[str]:
        if empty:
            yield f"{len(empty)} shards hold no samples, as {empty[0]}"
        if count := sum(len(shard.strays) for shard in self._shards):
            name, reason = next(self.strays())
            yield f"{count} files in the shards belong to no sample, as {name}: {reason}"
        if again := sum(len(shard.keys) - len(np.unique(shard.keys)) for shard in self._shards):
            yield f"{again} samples have the name of an earlier one in their shard; all are kept"

    def _read(self, index: int) -> tuple[str, dict[int, bytes]]:
        """The name of a sample and its files, by their rows in `ShardIndex.places`."""
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        path, shard = self._paths[number], self._shards[number]
        row = index - self._starts[number]
        name = f"{path}/{shard.keys[row].decode('utf-8', 'replace')}"
        try:
            with path.open("rb", buffering=0) as file:
                if stamp(os.fstat(file.fileno())) != shard.stamp:
                    raise BadSample(name, "the shard was changed during the run; start it again")
                return name, {
                    kind: os.pread(file.fileno(), int(size), int(offset))
                    for kind, (offset, size) in enumerate(shard.places[row])
                    if offset >= 0
                }
        except OSError as error:
            raise BadSample(name, f"cannot be read: {error.strerror}") from None

    def _texts(self, name: str, files: dict[int, bytes]) -> Any:
        """The caption, or list of captions, as stored."""
        kind, suffix = (JSON, ".json") if self._field else (TEXT, ".txt")
        if kind not in files:
            raise BadSample(name, f"there is no {suffix} of this name in the shard")
        try:
            text = files[kind].decode("utf-8")
            return json.loads(text)[self._field] if self._field else text
        except UnicodeDecodeError:
            raise BadSample(name, f"its {suffix} is not UTF-8") from None
        except (KeyError, TypeError):
            raise BadSample(name, f"its .json has no {self._field!r}") from None
        except (ValueError, RecursionError):
            raise BadSample(name, "its .json is not JSON") from None

    def _check_captions(self) -> None:
        """Refuse shards whose captions are elsewhere."""
        kind = JSON if self._field else TEXT
        if not any((shard.places[:, kind, 0] >= 0).any() for shard in self._shards):
            lacking = ".json" if self._field else ".txt"
            raise ValueError(f"no sample has a {lacking}{self._remedy()}")
        if self._field and self._field not in (fields := self._fields()):
            raise ValueError(
                f"data.caption_field={self._field}: no such field in the .json files"
                f"{did_you_mean(self._field, fields)}; they have {', '.join(fields) or 'none'}"
            )

    def _remedy(self) -> str:
        if self._field:
            return "; leave data.caption_field empty to read captions from .txt files"
        if fields := self._fields():
            return (
                "; name in data.caption_field what holds the caption in its .json: "
                f"one of {', '.join(fields)}"
            )
        return " or .json; write the shards with captions"

    def _fields(self) -> list[str]:
        """The fields of some .json files of the first shard that has any."""
        fields: dict[str, None] = {}
        for start, shard in zip(self._starts[:-1], self._shards, strict=True):
            for row in np.flatnonzero(shard.places[:, JSON, 0] >= 0)[:_PROBES]:
                with suppress(BadSample, ValueError, RecursionError):
                    found = json.loads(self._read(int(start + row))[1][JSON])
                    fields |= dict.fromkeys(found if isinstance(found, dict) else ())
            if fields:
                break
        return list(fields)


def _open_all(paths: Sequence[Path], setting: str) -> tuple[list[ShardIndex], list[Path]]:
    """The index of each shard, and which shards are empty."""
    problems: list[str] = []
    shards: list[ShardIndex] = []
    empty: list[Path] = []
    told = False
    for number, path in enumerate(paths):
        try:
            shard, kept = open_index(path)
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            continue
        if not (kept or told):
            told = True
            _log.warning("reading the headers of %d shards, once", len(paths) - number)
        if not len(shard.keys):
            empty.append(path)
        elif not (shard.places[:, IMAGE, 0] >= 0).any():
            problems.append(f"{path}: has no images{_left_over(shard)}; remove it from {setting}")
        shards.append(shard)
    refuse(problems, f"the shards of {setting} cannot be used:")
    return shards, empty


def _left_over(shard: ShardIndex) -> str:
    """The contents of a shard without images, for a message."""
    if not len(shard.strays):
        return ""
    name, reason = (text.decode("utf-8", "replace") for text in shard.strays[0])
    return f", but {len(shard.strays)} files that belong to no sample, as {name}: {reason}"
