"""What a command names, as items: images of a folder, of annotations or of tar shards; or captions.

An item is identified by its name and, for an image, by the file's size and modification time.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from albef_jax.apps.search.caption_files import read_captions
from albef_jax.apps.search.item import Item, Items
from albef_jax.apps.search.tar_items import captions_of, images_of, shards_in, shards_named
from albef_jax.config.file_patterns import split_list
from albef_jax.data.annotations.checks import image_of, parsed_items, probe_images
from albef_jax.data.tokenizer import well_formed
from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import AnyPath, BucketPath, below, path_of, under
from albef_jax.storage.retries import StorageError

_SETTING = "--images or --captions"


def items_of(
    images: str | AnyPath | None = None,
    captions: str | AnyPath | None = None,
    image_root: AnyPath | None = None,
    caption_field: str = "",
) -> Items:
    """The items that a command names: one of `images` and `captions`; paths, or addresses.

    Args:
        images: a folder, including its subfolders, or of tar shards; an annotation file, whose
            items have "image"; or tar shards, as patterns.
        captions: a file of any form that `caption_files` reads; or tar shards, as patterns.
        image_root: where an annotation file's paths start from; by default its own folder.
        caption_field: of the .json in tar shards, which holds the caption; empty for their .txt.

    Raises:
        SearchError: neither or both, or nothing to index.
        ValueError: a file that cannot be used.
    """
    if (images is None) == (captions is None):
        raise SearchError("name either images (--images) or captions (--captions)")
    given, setting = (images, "--images") if captions is None else (captions, "--captions")
    assert given is not None
    shards = shards_named(str(given), setting)
    if caption_field and not (shards and captions):
        raise SearchError("--caption_field is of captions in tar shards (--captions=shard.tar)")
    if captions is not None:
        if shards:
            return captions_of(shards, _absolute(captions), caption_field)
        return _captions(path_of(captions))
    if shards:
        return images_of(shards, _absolute(given))
    path = path_of(given)
    if path.is_file():
        return _annotated_images(path, image_root or path.parent)
    return _folder(path)


def _absolute(patterns: str | AnyPath) -> str:
    return ",".join(str(path_of(one).absolute()) for one in split_list(str(patterns)))


def _folder(folder: AnyPath) -> Items:
    if not folder.is_dir():
        raise SearchError(f"{folder}: no such folder or annotation file")
    kinds = set(Image.registered_extensions())
    files = sorted(_files(folder))
    names = [name for name in files if Path(name).suffix.lower() in kinds]
    if not names and (shards := shards_in(folder)):
        return images_of(shards, str(folder.absolute()))
    if not names:
        raise SearchError(
            f"{folder}: no images in this folder or below it ({len(files)} other files); a "
            "image's name ends in .jpg, .png, .webp or another that Pillow knows"
        )
    others = Counter(Path(name).suffix or "no ending" for name in files)
    for name in names:
        others[Path(name).suffix] -= 1
    left = ", ".join(f"{count} with {ending}" for ending, count in (+others).items())
    note = f"left out, no images by their names: {left}" if left else ""
    found = tuple(_on_disk(folder, name) for name in names)
    return Items("image", str(folder.absolute()), str(folder.absolute()), found, note)


def _files(folder: AnyPath) -> Iterator[str]:
    """Files below a folder by their relative paths; hidden ones are left out."""
    if isinstance(folder, BucketPath):
        for path in folder.walk_files():
            name = below(folder, path)
            if not any(part.startswith(".") for part in name.split("/")):
                yield name
        return
    for here, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield (Path(here) / name).relative_to(folder).as_posix()


def _cannot_list(error: OSError) -> None:
    raise SearchError(f"{error.filename}: cannot be listed: {error.strerror}")


def _annotated_images(file: AnyPath, root: AnyPath) -> Items:
    names = _once(parsed_items([file], image_of, _SETTING))
    probe_images(root, names, "--image_root")
    found = tuple(_on_disk(root, name) for name in names)
    return Items("image", str(file.absolute()), str(root.absolute()), found)


def _captions(file: AnyPath) -> Items:
    texts = read_captions(file)
    found = tuple(Item(text) for text in _once(well_formed(text) for text in texts if text.strip()))
    if not found:
        raise SearchError(f"{file}: no captions; write one a line, or a JSON list of them")
    return Items("text", str(file.absolute()), "", found)


def _on_disk(root: AnyPath, name: str) -> Item:
    try:
        facts = under(root, name).stat()
    except StorageError:
        raise
    except (OSError, ValueError):  # reported as a bad sample when it is read
        return Item(name, -1)
    return Item(name, facts.st_size, facts.st_mtime_ns)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
