"""The files of an encoded collection.

    manifest.json       what was encoded by which model, and how; written first
    00000.npy           features [n, E] of the items of shard 0 that could be read
    00000.jsonl         number and name of each of them, in the same order
    00000.tokens.npy    their tokens [n, N, D] in float16, if asked for
    00000.bad.jsonl     the others, with the reasons; only if there are some

Shard s is of `shard_size` items from `s * shard_size` on. Its features are written last, so it is
complete when they are there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import AnyPath, BucketPath, path_of
from albef_jax.storage.retries import StorageError
from albef_jax.storage.staged import staged, write_whole

FORMAT, VERSION = "albef_jax features", 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What was encoded.

    Attributes:
        kind: "image" or "text".
        source: the folder, file or files that name the items.
        root: where names start from; empty for captions of a list.
        items: how many there are, those that cannot be read included.
        items_digest: of their names, sizes and times.
        model: path, task, image size and digest.
        dtype: of the features.
        tokens: whether there are tokens, too.
        caption_field: of the .json in tar shards, which held the captions.
    """

    kind: str
    source: str
    root: str
    items: int
    items_digest: str
    model: dict[str, Any]
    embed_dim: int
    shard_size: int
    dtype: str
    tokens: bool
    caption_field: str = ""

    @property
    def shards(self) -> int:
        """How many there are in all."""
        return -(-self.items // self.shard_size)

    def span(self, shard: int) -> range:
        """The numbers of a shard's items."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.items))


def begin(folder: AnyPath, manifest: Manifest) -> None:
    """Write the manifest, or check that the folder's own is the same.

    Raises:
        SearchError: the folder holds something else, or features of something else.
    """
    if folder.is_file():
        raise SearchError(f"{folder}: a file; name a folder")
    if (folder / MANIFEST).is_file():
        there = read_manifest(folder)
        ours, theirs = asdict(manifest), asdict(there)
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            raise SearchError(
                f"{folder}: begun with another {', '.join(different)}; choose another --out, or "
                "delete this one"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise SearchError(f"{folder}: a folder with other files; choose a new one for --out")
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    facts = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    write_whole(folder / MANIFEST, f"{json.dumps(facts, indent=2)}\n".encode())


def read_manifest(folder: AnyPath) -> Manifest:
    """The manifest.

    Raises:
        SearchError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        if found.pop("format") != FORMAT or found.pop("version") != VERSION:
            raise SearchError(f"{path}: not of features, or of another version")
        return Manifest(**found)
    except FileNotFoundError:
        raise SearchError(f"{folder}: no {MANIFEST} here; make one by tools.embed") from None
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SearchError(f"{path}: cannot be read: {error}") from None


def complete_shards(folder: AnyPath, manifest: Manifest) -> set[int]:
    """The numbers of the shards that are written."""
    there = {path.name for path in folder.iterdir()}
    return {number for number in range(manifest.shards) if f"{number:05}.npy" in there}


def write_shard(
    folder: AnyPath,
    shard: int,
    named: Iterable[tuple[int, str]],
    bad: Iterable[tuple[int, str, str]],
    features: np.ndarray,
    tokens: np.ndarray | None = None,
) -> None:
    """Write a shard, its features last.

    Args:
        named: number and name of each row.
        bad: number and name of each item without a row, and the reason.
    """
    stem = f"{shard:05}"
    lines = (json.dumps({"item": item, "name": name}) for item, name in named)
    write_whole(folder / f"{stem}.jsonl", "".join(f"{line}\n" for line in lines).encode())
    told = [json.dumps({"item": n, "name": name, "reason": why}) for n, name, why in bad]
    if told:
        write_whole(folder / f"{stem}.bad.jsonl", "".join(f"{line}\n" for line in told).encode())
    if tokens is not None:
        _save(folder / f"{stem}.tokens.npy", tokens)
    _save(folder / f"{stem}.npy", features)


def _save(path: AnyPath, array: np.ndarray) -> None:
    with staged(path.parent) as beside:
        draft = beside.here / f".{path.name}.new"
        with draft.open("wb") as file:
            np.save(file, array)
        draft.replace(beside.here / path.name)
        beside.send(beside.here / path.name)


@dataclass(frozen=True)
class Features:
    """A complete collection; see `open_features`."""

    folder: AnyPath
    manifest: Manifest

    def __iter__(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Shard by shard the items' numbers and their features `[n, E]`, mapped from the disk."""
        for shard in range(self.manifest.shards):
            stem = f"{shard:05}"
            lines = (self.folder / f"{stem}.jsonl").read_text("utf-8").splitlines()
            array = self.folder / f"{stem}.npy"
            here = array.here() if isinstance(array, BucketPath) else array
            features = np.load(here, mmap_mode="r", allow_pickle=False)
            if len(lines) != len(features):
                raise SearchError(f"{array} and .jsonl do not belong together; delete both")
            yield [json.loads(line)["item"] for line in lines], features


def open_features(folder: str | AnyPath) -> Features:
    """Features that `embed` has written.

    Raises:
        SearchError: none, or some shards are missing.
    """
    folder = path_of(folder)
    manifest = read_manifest(folder)
    missing = sorted(set(range(manifest.shards)) - complete_shards(folder, manifest))
    if missing:
        raise SearchError(
            f"{folder}: {len(missing)} of {manifest.shards} shards are missing, as "
            f"{missing[0]:05}; the same command of tools.embed continues"
        )
    return Features(folder, manifest)


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of lines."""
    total = hashlib.sha256()
    for line in lines:
        total.update(f"{line}\n".encode())
    return total.hexdigest()
