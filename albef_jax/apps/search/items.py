"""The items of an index: the images of a folder or of annotations, or captions.

An item is identified by its name and, for an image, by the file's size and modification time.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from albef_jax.apps.search.caption_files import read_captions
from albef_jax.data.annotations.checks import image_of, parsed_items, probe_images
from albef_jax.data.tokenizer import well_formed
from albef_jax.inference.outputs import SearchError

_SETTING = "--images or --captions"


@dataclass(frozen=True)
class Item:
    """One image or caption.

    Attributes:
        name: the path below the items' root, or the caption.
        size: of the file in bytes; 0 for a caption, -1 for a missing file.
        changed: modification time of the file in ns; 0 for a caption.
    """

    name: str
    size: int = 0
    changed: int = 0


@dataclass(frozen=True)
class Items:
    """All items of an index.

    Attributes:
        kind: "image" or "text".
        source: the folder or file that names them.
        root: where the images' names start from; empty for captions.
        items: each once, in order.
        note: the items that were left out, with the reason; may be empty.
    """

    kind: str
    source: str
    root: str
    items: tuple[Item, ...]
    note: str = ""


def items_of(
    images: Path | None = None, captions: Path | None = None, image_root: Path | None = None
) -> Items:
    """The items that a command names: one of `images` and `captions`.

    Args:
        images: a folder, including its subfolders; or an annotation file, whose items have
            "image".
        captions: a file of any form that `caption_files` reads.
        image_root: where an annotation file's paths start from; by default its own folder.

    Raises:
        SearchError: neither or both, or nothing to index.
        ValueError: a file that cannot be used.
    """
    if (images is None) == (captions is None):
        raise SearchError("name either images (--images) or captions (--captions)")
    if captions is not None:
        return _captions(captions)
    if images is not None and images.is_file():
        return _annotated_images(images, image_root or images.parent)
    return _folder(Path(str(images)))


def _folder(folder: Path) -> Items:
    if not folder.is_dir():
        raise SearchError(f"{folder}: no such folder or annotation file")
    kinds = set(Image.registered_extensions())
    files = sorted(_files(folder))
    names = [name for name in files if Path(name).suffix.lower() in kinds]
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


def _files(folder: Path) -> Iterator[str]:
    """Files below a folder by their relative paths; hidden ones are left out."""
    for here, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield (Path(here) / name).relative_to(folder).as_posix()


def _cannot_list(error: OSError) -> None:
    raise SearchError(f"{error.filename}: cannot be listed: {error.strerror}")


def _annotated_images(file: Path, root: Path) -> Items:
    names = _once(parsed_items([file], image_of, _SETTING))
    probe_images(root, names, "--image_root")
    found = tuple(_on_disk(root, name) for name in names)
    return Items("image", str(file.absolute()), str(root.absolute()), found)


def _captions(file: Path) -> Items:
    texts = read_captions(file)
    found = tuple(Item(text) for text in _once(well_formed(text) for text in texts if text.strip()))
    if not found:
        raise SearchError(f"{file}: no captions; write one a line, or a JSON list of them")
    return Items("text", str(file.absolute()), "", found)


def _on_disk(root: Path, name: str) -> Item:
    try:
        facts = (root / name).stat()
    except (OSError, ValueError):  # reported as a bad sample when it is read
        return Item(name, -1)
    return Item(name, facts.st_size, facts.st_mtime_ns)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
