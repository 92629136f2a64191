"""Image bytes to uint8 RGB, and the resize used for evaluation.

OpenCV decodes JPEG files, faster than Pillow and with equal bits; Pillow decodes everything else.
Checks that OpenCV lacks come first: it decodes a truncated JPEG to a half-grey image.
"""

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from albef_jax.data.images import rgb
from albef_jax.errors import BadSample

MAX_PIXELS = 100_000_000

_END_OF_JPEG = b"\xff\xd9"
_CV2_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels; scale it down or leave it out"


def decode(data: bytes, name: str, upright: bool = False) -> np.ndarray:
    """The image in `data`, of any format, as 8-bit RGB.

    Equal to Pillow's `convert("RGB")`, so the EXIF orientation is ignored and transparency dropped,
    as in the official system; but more than 8 bits are scaled (see `rgb.of_pil`), where Pillow
    would clip them.

    Args:
        data: the bytes of an image file.
        name: its name in errors.
        upright: apply the EXIF orientation.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        BadSample: empty, truncated, not an image, of an unknown range of values, or over
            `MAX_PIXELS` (found before decoding).
    """
    if not data:
        raise BadSample(name, "the file is empty (0 bytes)")
    file = io.BytesIO(data)
    try:
        with Image.open(file) as pil:
            if pil.width * pil.height > MAX_PIXELS:
                raise BadSample(name, _TOO_LARGE)
            if pil.format == "JPEG":
                # Pillow has read up to the first scan, past any thumbnail with an end of its own.
                if data.find(_END_OF_JPEG, file.tell()) < 0:
                    raise BadSample(name, "a truncated JPEG: it has no end")
                if pil.mode in ("RGB", "L"):
                    image = _decode_jpeg(data, name)
                    return rgb.turned(image, rgb.orientation(pil)) if upright else image
            return rgb.of_pil(pil, upright)
    except BadSample:
        raise
    except rgb.NoRgb as error:
        raise BadSample(name, str(error)) from None
    except UnidentifiedImageError:
        raise BadSample(name, "not an image in a format that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadSample(name, _TOO_LARGE) from None
    except Exception as error:  # format readers raise nearly anything on damaged bytes
        cause = str(error).split(" (")[
            0
        ]  # without byte counts, so that equal causes have equal messages
        raise BadSample(name, f"cannot be decoded: {cause}") from None


def resize_for_eval(image: np.ndarray, size: int) -> np.ndarray:
    """Squeeze `[H, W, 3]` to `[size, size, 3]` by Pillow bicubic, as the official evaluation."""
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(resized)


def _decode_jpeg(data: bytes, name: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _CV2_FLAGS)
    if image is None:
        raise BadSample(name, "cannot be decoded: broken JPEG data")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
