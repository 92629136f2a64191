"""The samples of tar shards as items: their images, or their captions."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from albef_jax.apps.search.item import Item, Items
from albef_jax.config.file_patterns import expand, nearest_file
from albef_jax.data.shards.tar_paths import keys_of
from albef_jax.data.shards.tar_shards import TarShards
from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import AnyPath, BucketPath, below, in_order

# Also what is no plain tar, to be refused with the remedy.
_TAR = re.compile(r"\.(tar(\.\w+)?|tgz)$")


def shards_named(given: str, setting: str) -> tuple[AnyPath, ...]:
    """The tar shards that an argument names, sorted; none if it names something else.

    Args:
        given: a shard, or a list of patterns as in `data.train_files`.
        setting: the argument's name, for messages.

    Raises:
        SearchError: shards that are not there, or shards and other files.
    """
    one = Path(given)
    if one.is_dir():
        return ()
    if one.is_file():
        return (one,) if _TAR.search(one.name) else ()
    found = in_order(set(expand(Path(), given)))
    shards = [path for path in found if _TAR.search(path.name)]
    if shards and len(shards) < len(found):
        other = next(path for path in found if path not in shards)
        raise SearchError(f"{setting}={given}: shards and other files, as {other}; name one kind")
    if missing := [path for path in shards if not path.is_file()]:
        raise SearchError(
            f"{setting}={given}: {len(missing)} of {len(shards)} shards are not there, as "
            f"{missing[0]}{nearest_file(missing[0])}"
        )
    return tuple(shards)


def shards_in(folder: AnyPath) -> tuple[AnyPath, ...]:
    """The tar shards of a folder itself, sorted, but for hidden ones."""
    named = [path for path in folder.iterdir() if path.suffix == ".tar" and path.name[0] != "."]
    return tuple(in_order(path for path in named if path.is_file()))


def images_of(shards: tuple[AnyPath, ...], source: str) -> Items:
    """An item for each sample; one without an image is found to be bad when it is read.

    Raises:
        ValueError: unusable shards.
    """
    return _items("image", TarShards(shards, "--images"), source)


def captions_of(shards: tuple[AnyPath, ...], source: str, field: str) -> Items:
    """An item for each sample, named as its image is, not as its caption reads.

    Args:
        field: of the samples' .json, which holds the caption; empty for their .txt.

    Raises:
        ValueError: unusable shards, or no captions there.
    """
    opened = TarShards(shards, "--captions", with_images=False)
    opened.check_captions(field, "--caption_field")
    return _items("text", opened, source, field)


def _items(kind: str, opened: TarShards, source: str, field: str = "") -> Items:
    root = _common([path.absolute().parent for path in opened.paths])
    items = tuple(_each(opened, root))
    return Items(kind, source, str(root), items, "\n".join(opened.notes), field)


def _common(folders: Sequence[AnyPath]) -> AnyPath:
    """The folder that all lie in."""
    remote = [folder for folder in folders if isinstance(folder, BucketPath)]
    if not remote:
        return Path(os.path.commonpath(list(map(str, folders))))
    shared = [
        folder
        for folder in (remote[0], *remote[0].parents)
        if all(folder in (other, *getattr(other, "parents", ())) for other in folders)
    ]
    if not shared:
        raise SearchError(
            f"{remote[0]} and {folders[-1]}: shards of several buckets, or of buckets and disks; "
            "make an index of each"
        )
    return shared[0]


def _each(opened: TarShards, root: AnyPath) -> Iterator[Item]:
    for path, shard in zip(opened.paths, opened.shards, strict=True):
        name = below(root, path.absolute())
        for key in keys_of(shard):
            yield Item(f"{name}/{key}", *shard.stamp)
