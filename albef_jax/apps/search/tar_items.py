"""The samples of tar shards as items: their images, or their captions."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from albef_jax.apps.search.item import Item, Items
from albef_jax.config.file_patterns import expand, nearest_file
from albef_jax.data.shards.tar_paths import keys_of
from albef_jax.data.shards.tar_shards import TarShards
from albef_jax.inference.outputs import SearchError

# Also what is no plain tar, to be refused with the remedy.
_TAR = re.compile(r"\.(tar(\.\w+)?|tgz)$")


def shards_named(given: Path, setting: str) -> tuple[Path, ...]:
    """The tar shards that an argument names, sorted; none if it names something else.

    Args:
        given: a shard, or a list of patterns as in `data.train_files`.
        setting: the argument's name, for messages.

    Raises:
        SearchError: shards that are not there, or shards and other files.
    """
    if given.is_dir():
        return ()
    if given.is_file():
        return (given,) if _TAR.search(given.name) else ()
    found = sorted(set(expand(Path(), str(given))))
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


def shards_in(folder: Path) -> tuple[Path, ...]:
    """The tar shards of a folder itself, sorted, but for hidden ones."""
    return tuple(sorted(path for path in folder.glob("[!.]*.tar") if path.is_file()))


def images_of(shards: tuple[Path, ...], source: str) -> Items:
    """An item for each sample; one without an image is found to be bad when it is read.

    Raises:
        ValueError: unusable shards.
    """
    return _items("image", TarShards(shards, "--images"), source)


def captions_of(shards: tuple[Path, ...], source: str, field: str) -> Items:
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
    root = Path(os.path.commonpath([path.absolute().parent for path in opened.paths]))
    items = tuple(_each(opened, root))
    return Items(kind, source, str(root), items, "\n".join(opened.notes), field)


def _each(opened: TarShards, root: Path) -> Iterator[Item]:
    for path, shard in zip(opened.paths, opened.shards, strict=True):
        name = path.absolute().relative_to(root).as_posix()
        for key in keys_of(shard):
            yield Item(f"{name}/{key}", *shard.stamp)
