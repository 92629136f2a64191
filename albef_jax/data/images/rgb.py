"""Converts pixels of any kind to 8-bit RGB: one rule for files, PIL images and arrays.

Values of more than 8 bits are scaled if their range is known, and refused otherwise: clipping would
turn them white, a wrong range black.
"""

import struct

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

# 16-bit modes that Pillow reads into 32 bits.
_SIXTEEN_BITS = ("PPM", "PNG")
_REMEDY = "save it with 8 bits, or with 16 bits that start from 0"


class NoRgb(ValueError):
    """Pixels that are not an image; the message has the reason and the remedy."""


def of_pil(pil: Image.Image, upright: bool = False) -> np.ndarray:
    """A PIL image as uint8 RGB `[H, W, 3]`.

    Equal to Pillow's `convert("RGB")` for images of 8 bits, so transparency is dropped. Unsigned 16
    bits are scaled, where Pillow would clip them; floats are a share of white, 0 to 1.

    Args:
        upright: apply the EXIF orientation. Pillow itself always applies that of a TIFF.

    Raises:
        NoRgb: 32 or signed 16 bits, whose range is unknown, or floats beyond 0 to 1.
    """
    pil.load()
    rgb = _rgb_of(pil)
    return turned(rgb, orientation(pil)) if upright else rgb


def _rgb_of(pil: Image.Image) -> np.ndarray:
    if pil.mode == "F":
        return of_array(np.array(pil))
    if pil.mode.startswith("I"):
        return _grey(_sixteen_bits(pil) >> 8)
    return np.array(pil.convert("RGB"))


def _sixteen_bits(pil: Image.Image) -> np.ndarray:
    """Whole numbers from 0 to 65,535."""
    values = np.array(pil)
    if pil.mode == "I":
        if pil.format not in _SIXTEEN_BITS:
            kind = "32 bits" if pil.format != "TIFF" else "32 or signed 16 bits"
            raise NoRgb(f"grey of {kind} ({_range(values)}), whose range is not known; {_REMEDY}")
        return values
    if isinstance(pil, TiffImagePlugin.TiffImageFile):
        tags = pil.tag_v2
        bits = np.ravel(tags.get(TiffImagePlugin.BITSPERSAMPLE, 16))[0]
        values = values << max(0, 16 - int(bits))  # Pillow does not scale 12 bits
        if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            values = 65535 - values
    return values


def of_array(array: np.ndarray) -> np.ndarray:
    """An array as uint8 RGB `[H, W, 3]`.

    Args:
        array: `[H, W]` or `[H, W, 1]` for grey, `[H, W, 3]` for RGB, `[H, W, 4]` for RGBA, whose
            transparency is dropped. uint8, uint16, bool, or floats from 0 to 1.

    Raises:
        NoRgb: another shape or kind, or floats that are beyond 0 to 1 or not finite.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise NoRgb(f"an array of shape {_shape(array)} is no image: give [H, W, 3] or [H, W]")
    if array.shape[2] not in (1, 3, 4):
        raise NoRgb(
            f"an array of shape {_shape(array)}: the last axis must be R, G, B (or one channel of "
            "grey, or R, G, B and transparency)"
        )
    return np.repeat(_eight(array), 3, axis=2) if array.shape[2] == 1 else _eight(array)[..., :3]


def _eight(array: np.ndarray) -> np.ndarray:
    """The values as uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise NoRgb(
            f"values of {array.dtype}, whose range is not known: give uint8 (0 to 255), uint16 "
            "(0 to 65535), or floats (0 to 1)"
        )
    if not np.isfinite(array).all():
        raise NoRgb("floats that are not finite (NaN or infinity); give values from 0 to 1")
    if array.min() < 0 or array.max() > 1:
        raise NoRgb(f"floats {_range(array)}: give values from 0 to 1, or uint8 from 0 to 255")
    return np.rint(array * 255).astype(np.uint8)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def _range(values: np.ndarray) -> str:
    return f"from {values.min():g} to {values.max():g}"


def _shape(array: np.ndarray) -> str:
    return f"[{', '.join(map(str, array.shape))}]"


def orientation(pil: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or unreadable."""
    try:
        number = pil.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, struct.error, ValueError, KeyError, TypeError, OSError):
        return 1  # damaged EXIF data; viewers ignore it, too
    return number if number in range(1, 9) else 1


def turned(image: np.ndarray, number: int) -> np.ndarray:
    """Pixels `[H, W, 3]` made upright, of an image with this EXIF orientation."""
    if number >= 5:
        image = image.transpose(1, 0, 2)
    # Of the (already transposed) image: rows from below, columns from the right.
    rows = -1 if number in (3, 4, 7, 8) else 1
    columns = -1 if number in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])
