"""Converts images and texts in their usual forms to the model's input: one rule for all methods.

An argument is one image or text, or a list of them. If a method takes several arguments, a single
item is paired with all items of the others; lists are paired item by item.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from albef_jax.data.images import rgb
from albef_jax.data.images.decode import decode, resize_for_eval
from albef_jax.inference.arguments import ArgumentError

ImageInput = str | Path | Image.Image | np.ndarray
ImageInputs = ImageInput | Sequence[ImageInput]
Texts = str | Sequence[str]

_IMAGE = "an image is a path, a PIL image or an array [H, W, 3]"


def is_one_image(given: Any) -> bool:
    """Whether this is one image, not a list of images."""
    if isinstance(given, str | Path | Image.Image):
        return True
    return _is_array(given) and given.ndim in (2, 3)


def read_image(given: ImageInput) -> np.ndarray:
    """A path, a PIL image or an array as upright uint8 RGB `[H, W, 3]`; see `rgb`.

    The EXIF orientation of files and PIL images is applied, unlike in training data.

    Raises:
        TypeError: another type.
        ValueError: an array or a PIL image of an invalid shape or range.
        BadSample: a file that cannot be decoded.
        OSError: a file that cannot be read.
    """
    if isinstance(given, str | Path):
        return decode(Path(given).read_bytes(), str(given), upright=True)
    if isinstance(given, Image.Image):
        return rgb.of_pil(given, upright=True)
    if _is_array(given):
        return rgb.of_array(np.asarray(given))
    raise TypeError(f"{_IMAGE}, not {type(given).__name__}")


def as_images(images: ImageInputs, name: str = "images") -> list[np.ndarray]:
    """One image or several, read; an array `[B, H, W, C]` is several.

    Args:
        name: of the argument, for messages.
    """
    if is_one_image(images):
        return [read_image(images)]  # type: ignore[arg-type]
    found = _list_of(images, name, _IMAGE)
    if not found:
        raise ArgumentError(f"{name}: no images were given")
    return [read_image(one) for one in found]


def as_texts(texts: Texts, name: str = "texts") -> list[str]:
    """One text or several.

    Args:
        name: of the argument, for messages.
    """
    if isinstance(texts, str):
        return [texts]
    found = _list_of(texts, name, "a text is a str")
    if not found:
        raise ArgumentError(f"{name}: no texts were given")
    for number, text in enumerate(found):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"{name}: item {number} is no text (a str), but {kind}")
    return [str(text) for text in found]


@dataclass(frozen=True)
class Pairs:
    """Images and texts, pair by pair.

    Attributes:
        images: as many as texts, read.
        single: both were single items, so the result is one answer, not a list.
    """

    images: list[np.ndarray]
    texts: list[str]
    single: bool


def as_pairs(
    images: ImageInputs, texts: Texts, names: tuple[str, str] = ("images", "texts")
) -> Pairs:
    """Pairs of images and texts; a single item is paired with all of the other side.

    Args:
        names: of the two arguments, for messages.

    Raises:
        ArgumentError: two lists of different lengths, or an empty one.
    """
    single = is_one_image(images) and isinstance(texts, str)
    words = as_texts(texts, names[1])  # errors come before reading
    read = as_images(images, names[0])
    count = max(len(read), len(words))
    if {len(read), len(words)} - {1, count}:
        raise ArgumentError(
            f"{len(read)} in {names[0]} and {len(words)} in {names[1]}: give as many of both, "
            "or one of either"
        )
    return Pairs(read * (count // len(read)), words * (count // len(words)), single)


def _list_of(given: Any, name: str, what: str) -> list[Any]:
    """The items of a list, a tuple, an array or another collection in order."""
    unordered = isinstance(given, bytes | dict | set | frozenset)
    if unordered or not isinstance(given, Iterable) or not getattr(given, "ndim", 1):
        raise TypeError(f"{name}: {what}, or a list of them, not {type(given).__name__}")
    return list(given)


def _is_array(given: Any) -> bool:
    """Whether this is an array of numpy, jax or another library that converts to numpy."""
    return hasattr(given, "__array__") and hasattr(given, "dtype") and hasattr(given, "ndim")


def as_square(images: Iterable[np.ndarray], side: int) -> np.ndarray:
    """Squeezed to uint8 `[B, side, side, 3]`, as in the official evaluation."""
    made: dict[int, np.ndarray] = {}  # the same image may occur many times
    rows = [(id(image), image) for image in images]
    for key, image in rows:
        if key not in made:
            made[key] = resize_for_eval(image, side)
    return np.stack([made[key] for key, _ in rows])


def padded(arrays: dict[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Arrays with `rows` rows; the last row is repeated."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
        for name, array in arrays.items()
    }
