"""Sentences about one image (SNLI-VE) and about two (NLVR2), in the official format."""

from collections.abc import Iterator, Sequence
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
from albef_jax.data.records import LABELS, TRUTH, Sentence, TwoImages
from albef_jax.storage.paths import AnyPath, path_of, under

_ENDINGS = tuple(f".{ending}" for ending in IMAGE_ENDINGS)


class _Row(NamedTuple):
    images: tuple[str, ...]
    sentence: str
    label: int


class JsonSentences:
    """Random access to the sentences of one or more visual entailment files.

    An item is `{"image", "sentence", "label"}`; the label is one of `LABELS`. An image without the
    ending of an image file gets ".jpg".

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of some
            images probed across the list are not there.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        image_root: str | AnyPath,
        setting: str = "data.train_files",
    ):
        self._root = path_of(image_root)
        self._rows = list(parsed_items(files, _parse_sentence, setting))
        probe_images(self._root, [row.images[0] for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sentence:
        """The sentence at `index`; raises `BadSample` if its image is missing or unusable."""
        row = self._rows[index]
        path = under(self._root, row.images[0])
        return Sentence(str(path), read_image(path, self.upright), row.sentence, row.label)

    def texts(self, index: int) -> tuple[str, ...]:
        """The sentence alone."""
        return (self._rows[index].sentence,)

    def image_paths(self) -> Iterator[str]:
        """The path of each sentence's image or images."""
        return joined(self._root, (image for row in self._rows for image in row.images))


class JsonTwoImages:
    """Random access to the statements of one or more NLVR2 files.

    An item is `{"images": [left, right], "sentence", "label"}`; the label is one of `TRUTH`, as a
    text or as a JSON true or false.

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.
        setting: where the files are named in the configuration, for messages.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of some
            images probed across the list are not there.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        image_root: str | AnyPath,
        setting: str = "data.train_files",
    ):
        self._root = path_of(image_root)
        self._rows = list(parsed_items(files, _parse_two_images, setting))
        probe_images(self._root, [image for row in self._rows for image in row.images])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> TwoImages:
        """The statement at `index`; raises `BadSample` if an image is missing or unusable."""
        row = self._rows[index]
        left, right = (under(self._root, image) for image in row.images)
        name = f"{left} and {right}"
        images = read_image(left, self.upright), read_image(right, self.upright)
        return TwoImages(name, *images, row.sentence, row.label)

    def texts(self, index: int) -> tuple[str, ...]:
        """The statement alone."""
        return (self._rows[index].sentence,)

    def image_paths(self) -> Iterator[str]:
        """The path of each sentence's image or images."""
        return joined(self._root, (image for row in self._rows for image in row.images))


def _parse_sentence(item: dict[str, Any]) -> _Row:
    image = image_of(item)
    if not image.lower().endswith(_ENDINGS):
        image += ".jpg"
    return _Row((image,), text_of(item, "sentence"), _label(item, LABELS))


def _parse_two_images(item: dict[str, Any]) -> _Row:
    images = item.get("images")
    if not isinstance(images, list) or len(images) != 2:
        raise ValueError("'images' must be a list of two paths of images, left and right")
    if not all(isinstance(image, str) and image for image in images):
        raise ValueError("'images' must hold the paths of two images")
    label = item.get("label")
    if isinstance(label, bool):
        item = {**item, "label": str(label)}
    return _Row(tuple(images), text_of(item, "sentence"), _label(item, TRUTH))


def _label(item: dict[str, Any], names: tuple[str, ...]) -> int:
    if "label" not in item:
        raise ValueError(f"has no 'label'; give one of {', '.join(names)}")
    label = item["label"]
    if label not in names:
        hint = did_you_mean(label, names)
        raise ValueError(f"'label' {label!r} is none of {', '.join(names)}{hint}")
    return names.index(label)
