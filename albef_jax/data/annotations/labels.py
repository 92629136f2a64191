"""Images with a class each: a JSON list, or a folder with a sub-folder a class."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from albef_jax.data.annotations.checks import (
    did_you_mean,
    image_of,
    joined,
    parsed_items,
    probe_images,
    read_image,
    text_of,
)
from albef_jax.data.images.suffixes import IMAGE_ENDINGS
from albef_jax.data.records import Labelled
from albef_jax.storage.paths import AnyPath, BucketPath, below, in_order, under

PLACE = "{}"  # where a template has the class name


class _Row(NamedTuple):
    image: str
    label: int


class LabelledImages:
    """Random access to the images of a list of paths and classes.

    Args:
        root: directory that relative image paths start from.
        classes: names, in the order of the labels.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(self, root: AnyPath, rows: Sequence[_Row], classes: Sequence[str]):
        self._root, self._rows, self.classes = root, rows, tuple(classes)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Labelled:
        """The image at `index`; raises `BadSample` if it is missing or unusable."""
        row = self._rows[index]
        path = under(self._root, row.image)
        return Labelled(str(path), read_image(path, self.upright), row.label)

    def image_paths(self) -> Iterator[str]:
        """The path of each image."""
        return joined(self._root, (row.image for row in self._rows))


def json_labels(
    files: Sequence[AnyPath], image_root: AnyPath, classes: Sequence[str] = ()
) -> LabelledImages:
    """The images of JSON lists of `{"image", "label"}`, the label a class name.

    Args:
        classes: their names; by default those in the files, sorted.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of some
            images probed across the list are not there.
    """

    def parse(item: dict[str, Any]) -> tuple[str, str]:
        label = text_of(item, "label").strip()
        if classes and label not in classes:
            raise ValueError(f"'label' {label!r} is no class{did_you_mean(label, classes)}")
        return image_of(item), label

    items = list(parsed_items(files, parse, "data.eval_files"))
    names = tuple(classes) or tuple(sorted({label for _, label in items}))
    numbers = {name: number for number, name in enumerate(names)}
    rows = [_Row(image, numbers[label]) for image, label in items]
    probe_images(image_root, [row.image for row in rows])
    return LabelledImages(image_root, rows, names)


def folder_labels(root: AnyPath, classes: Sequence[str] = ()) -> LabelledImages:
    """The images below `root`, where each sub-folder is a class, its name the folder's.

    Args:
        classes: names for the sub-folders in sorted order, where folders are called n01440764 or
            the like; by default the folders' own, `_` read as a space.

    Raises:
        ValueError: no such folder, none in it, another number of them than classes, or one without
            images.
    """
    if not root.is_dir():
        raise ValueError(f"data.image_root: no such directory: {root}")
    folders = in_order(path for path in root.iterdir() if path.is_dir())
    if not folders:
        raise ValueError(f"{root}: no sub-folders; each class is a folder of its images")
    if classes and len(classes) != len(folders):
        raise ValueError(
            f"data.classes has {len(classes)} names and {root} {len(folders)} sub-folders; name "
            "each, in sorted order"
        )
    rows = []
    for number, folder in enumerate(folders):
        images = in_order(
            path for path in _below(folder) if path.suffix.lower().lstrip(".") in IMAGE_ENDINGS
        )
        if not images:
            raise ValueError(f"{folder}: a class without an image; remove the folder or add some")
        rows += [_Row(below(root, path), number) for path in images]
    names = classes or [folder.name.replace("_", " ") for folder in folders]
    return LabelledImages(root, rows, names)


def _below(folder: AnyPath) -> Iterable[AnyPath]:
    return folder.walk_files() if isinstance(folder, BucketPath) else folder.rglob("*")


def read_lines(path: AnyPath, option: str) -> tuple[str, ...]:
    """The texts of a JSON list, or of a file with one a line; blank lines are left out.

    Args:
        option: that names the file, for messages.

    Raises:
        ValueError: no such file, not UTF-8, nothing in it, something else than texts, or one twice.
    """
    try:
        text = path.read_text("utf-8")
        lines = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"{option}={path}: cannot be read: {error}") from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"{option}={path}: is no list of texts")
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise ValueError(f"{option}={path}: is empty")
    if twice := next((line for line in found if found.count(line) > 1), None):
        raise ValueError(f"{option}={path}: {twice!r} is there twice; keep one")
    return found


def check_templates(templates: Sequence[str], option: str) -> None:
    """Refuse a template without a place for the class name, or with several."""
    for template in templates:
        if template.count(PLACE) != 1:
            raise ValueError(f"{option}: {template!r} has not one {PLACE} for the class name")
