"""Picture bytes to uint8 RGB, and the resize used for evaluation.

OpenCV decodes complete JPEG files, bit for bit as Pillow does and faster. Everything else, doubtful
JPEG files included, goes to Pillow: it knows all formats, and tells a truncated file from a whole
one where OpenCV hands out a half-grey picture.
"""

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from albef_jax.data.records import BadSample

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_PIXELS = 100_000_000

_END_OF_JPEG = b"\xff\xd9"
_CV2_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels; scale it down or leave it out"


def decode(data: bytes, name: str) -> np.ndarray:
    """The picture in `data`, whatever its format, as 8-bit RGB.

    Equal to Pillow's `convert("RGB")`, so the EXIF orientation is ignored and transparency dropped,
    as in the published system; but 16-bit grey is scaled to 8 bits, where Pillow would clip it.

    Args:
        data: the bytes of a picture file.
        name: what to call it in errors.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        BadSample: empty, truncated, not a picture, or over `MAX_PIXELS` (found before decoding).
    """
    if not data:
        raise BadSample(name, "the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BadSample(name, _TOO_LARGE)
            if picture.format == "JPEG" and picture.mode in ("RGB", "L") and _looks_whole(data):
                return _decode_jpeg(data, name)
            return _to_rgb(picture)
    except UnidentifiedImageError:
        raise BadSample(name, "not a picture in a format that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadSample(name, _TOO_LARGE) from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise BadSample(name, f"cannot be decoded: {error}") from None


def resize_for_eval(image: np.ndarray, size: int) -> np.ndarray:
    """Squeeze `[H, W, 3]` to `[size, size, 3]`, Pillow bicubic: the published evaluation's resize."""
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(resized)


def _looks_whole(data: bytes) -> bool:
    return data.rstrip(b"\0").endswith(_END_OF_JPEG)


def _decode_jpeg(data: bytes, name: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _CV2_FLAGS)
    if image is None:
        raise BadSample(name, "cannot be decoded: broken JPEG data")
    return image


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I;16"):
        grey = (np.array(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGB"))
