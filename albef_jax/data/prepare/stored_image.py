"""The stored image of a record: the bytes of its file, or a smaller JPEG."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, EncodedPairs, PairSource


class Stored(NamedTuple):
    """A pair as stored, and how its image was made.

    Attributes:
        pair: with the bytes to store.
        how: 'kept' unchanged, 'resized' to a JPEG, or 'drawn' (without a file) and made a PNG.
    """

    pair: EncodedPair
    how: str


def stored(source: PairSource, index: int, resize: int, quality: int) -> Stored:
    """Item `index` as stored; it is decoded to check it, and `BadSample` raised if unusable."""
    if isinstance(source, EncodedPairs):
        pair = source.encoded(index)
        upright = getattr(source, "upright", False)
        image, how = decode(pair.data, pair.name, upright), "kept"
    else:
        found = source[index]
        image, how = found.image, "drawn"
        pair = EncodedPair(found.name, b"", found.captions, found.image_id)
    if resize and min(image.shape[:2]) > resize:
        return Stored(_with(pair, _smaller(image, resize, quality)), "resized")
    if how == "drawn":
        pair = _with(pair, _file(Image.fromarray(image), "PNG"))
    return Stored(pair, how)


def _with(pair: EncodedPair, data: bytes) -> EncodedPair:
    return EncodedPair(pair.name, data, pair.captions, pair.image_id)


def _smaller(image: np.ndarray, side: int, quality: int) -> bytes:
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    pil = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return _file(pil, "JPEG", quality=quality)


def _file(pil: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    pil.save(file, kind, **options)
    return file.getvalue()
