"""Whatever a person has as a picture or a text, as the arrays that the model takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from albef_jax.data.images import decode, resize_for_eval

Picture = str | Path | Image.Image | np.ndarray
Pictures = Picture | Sequence[Picture]
Texts = str | Sequence[str]


def read_picture(picture: Picture) -> np.ndarray:
    """A path, a PIL picture or an array as uint8 RGB `[H, W, 3]`.

    Raises:
        TypeError: something else.
        ValueError: an array that is no picture.
        BadSample: a file that cannot be decoded.
        OSError: a file that cannot be read.
    """
    if isinstance(picture, str | Path):
        return decode(Path(picture).read_bytes(), str(picture))
    if isinstance(picture, Image.Image):
        return np.array(picture.convert("RGB"))
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"a picture is a path, a PIL picture or an array, not {type(picture).__name__}"
        )
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise ValueError(
            f"an array of {picture.dtype} {picture.shape} is no picture: give uint8 [H, W, 3], "
            "values 0 to 255, or [H, W] for grey"
        )
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2)
    if picture.shape[2] != 3:
        raise ValueError(f"an array of shape {picture.shape}: the last axis must be R, G, B")
    return picture


def as_pictures(pictures: Pictures) -> list[np.ndarray]:
    """One picture or several, read; an array `[B, H, W, 3]` is several."""
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        pictures = list(pictures)
    if isinstance(pictures, str | Path | Image.Image | np.ndarray):
        pictures = [pictures]
    found = [read_picture(one) for one in pictures]
    if not found:
        raise ValueError("no pictures were given")
    return found


def as_texts(texts: Texts) -> list[str]:
    """One text or several."""
    found = [texts] if isinstance(texts, str) else list(texts)
    if not found or not all(isinstance(text, str) for text in found):
        raise ValueError("texts must be a text, or a list of at least one text")
    return found


def as_square(pictures: list[np.ndarray], side: int) -> np.ndarray:
    """Squeezed to uint8 `[B, side, side, 3]`, as in the published evaluation."""
    return np.stack([resize_for_eval(picture, side) for picture in pictures])


def padded(arrays: dict[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Arrays with `rows` rows; the last row is repeated."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
        for name, array in arrays.items()
    }
