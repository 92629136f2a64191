"""Samples of tar shards by path, `shard.tar/key`, as if the shard were a folder of them."""

import threading
from functools import lru_cache
from posixpath import normpath
from typing import NamedTuple

from albef_jax.data.shards.tar_index import ShardIndex, open_index
from albef_jax.data.shards.tar_index import stamp as stamp_of
from albef_jax.data.shards.tar_shards import Files, read_files
from albef_jax.errors import BadSample
from albef_jax.storage.paths import AnyPath, below
from albef_jax.storage.retries import StorageError

_OPEN = 16  # shards whose indexes are kept in memory
_one_at_a_time = threading.Lock()


class Place(NamedTuple):
    """A shard, and the name of a sample in it."""

    shard: AnyPath
    key: str


def in_shard(path: AnyPath) -> Place | None:
    """The sample that a path names; None for a path that leads through no tar file."""
    for parent in path.parents:
        if parent.suffix == ".tar" and parent.is_file():
            return Place(parent, below(parent, path))
    return None


def keys_of(shard: ShardIndex) -> list[str]:
    """A name for each sample of a shard, as a path has it: without `./`, and no name twice.

    The second sample of the same key becomes `key (2)`.
    """
    taken: dict[str, None] = {}
    for raw in shard.keys:
        key = name = normpath(raw.decode("utf-8", "replace")).lstrip("/")
        number = 1
        while name in taken:
            number += 1
            name = f"{key} ({number})"
        taken[name] = None
    return list(taken)


def read_place(place: Place, stamp: tuple[int, int] | None = None) -> Files:
    """The files of a sample.

    Args:
        stamp: size and time of change that the shard must have; None for any.

    Raises:
        BadSample: no such sample, or a shard that is damaged, gone, or another one than it was.
    """
    name = f"{place.shard}/{place.key}"
    try:
        now = stamp_of(place.shard.stat())
        if stamp is not None and stamp != now:
            raise BadSample(name, "the shard was changed during the run; start it again")
        with _one_at_a_time:  # or all threads would read the index of a new shard
            shard, rows = _opened(place.shard, now)
    except OSError as error:
        raise BadSample(name, f"cannot be read: {error.strerror}") from None
    except StorageError:
        raise
    except ValueError as error:
        raise BadSample(name, f"its shard cannot be used: {error}") from None
    if place.key not in rows:
        raise BadSample(name, "there is no sample of this name in the shard")
    return read_files(place.shard, shard, rows[place.key], name)


@lru_cache(_OPEN)
def _opened(shard: AnyPath, stamp: tuple[int, int]) -> tuple[ShardIndex, dict[str, int]]:
    """The index of a shard, and the row of each name; `stamp` tells apart what it was and is."""
    index, _ = open_index(shard)
    return index, {name: row for row, name in enumerate(keys_of(index))}
