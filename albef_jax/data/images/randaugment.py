"""RandAugment (Cubuk et al. 2020) with the official ten operations, on uint8 RGB `[H, W, 3]`.

The photometric operations follow the Pillow ones of the same names, the geometric ones sample
bilinearly and fill with grey. Levels run from 0 to 10 (LEDGER, Augmentation).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MAX_LEVEL = 10
FILL = (128, 128, 128)
PROBABILITY = 0.5

# The argument at the highest level, for a draw above one half; below it the sign turns.
_SIGNED_RANGES = {
    "Rotate": 30.0,
    "ShearX": -0.3,
    "ShearY": -0.3,
    "TranslateX": -10.0,
    "TranslateY": -10.0,
}
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def op_arguments(op: str, level: int, draw: float) -> tuple:
    """The arguments of operation `op` after the image.

    Args:
        op: a key of `OPS`.
        level: 0 to `MAX_LEVEL`.
        draw: uniform in [0, 1), decides the direction of the geometric operations.

    Returns:
        `()`, `(factor,)`, or `(amount, fill)`: degrees, a shear factor, or pixels.
    """
    share = level / MAX_LEVEL
    if op in ("Brightness", "Sharpness"):
        return (0.1 + 1.8 * share,)
    if op in _SIGNED_RANGES:
        return (_SIGNED_RANGES[op] * share * (1 if draw > 0.5 else -1), FILL)
    return ()


def identity(image: np.ndarray) -> np.ndarray:
    """The image itself."""
    return image


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretch each channel to the full range."""
    return _apply_tables(image, _stretch)


def equalize(image: np.ndarray) -> np.ndarray:
    """Flatten the histogram of each channel."""
    return _apply_tables(image, _flatten)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by `factor`: 0 is black, 1 changes nothing."""
    return cv2.LUT(image, np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 blurs, 1 changes nothing, above 1 sharpens; the outermost pixels stay."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    out = image.copy()
    # addWeighted saturates. The official code lets over- and undershoots wrap around at 0 and 255.
    out[1:-1, 1:-1] = cv2.addWeighted(image, factor, smooth, 1 - factor, 0)[1:-1, 1:-1]
    return out


def rotate(image: np.ndarray, degrees: float, fill: tuple) -> np.ndarray:
    """Turn anticlockwise about the centre."""
    height, width = image.shape[:2]
    return _warp(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0), fill)


def shear_x(image: np.ndarray, factor: float, fill: tuple) -> np.ndarray:
    """Move each row right by `factor` times its distance from the top."""
    return _warp(image, [[1, factor, 0], [0, 1, 0]], fill)


def shear_y(image: np.ndarray, factor: float, fill: tuple) -> np.ndarray:
    """Move each column down by `factor` times its distance from the left."""
    return _warp(image, [[1, 0, 0], [factor, 1, 0]], fill)


def translate_x(image: np.ndarray, pixels: float, fill: tuple) -> np.ndarray:
    """Move left by `pixels`."""
    return _shift(image, pixels, 0.0, fill)


def translate_y(image: np.ndarray, pixels: float, fill: tuple) -> np.ndarray:
    """Move up by `pixels`."""
    return _shift(image, 0.0, pixels, fill)


OPS: dict[str, Callable[..., np.ndarray]] = {
    "Identity": identity,
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
}


@dataclass(frozen=True)
class RandAugment:
    """`num_ops` operations drawn with replacement, each applied with probability one half."""

    num_ops: int = 2
    level: int = 7

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A changed copy of uint8 `[H, W, 3]` (or the image itself, when nothing was drawn)."""
        names = tuple(OPS)
        for _ in range(self.num_ops):
            op, applied, draw = names[rng.integers(len(names))], rng.random(), rng.random()
            if applied < PROBABILITY:
                image = OPS[op](image, *op_arguments(op, self.level, draw))
        return image


def _warp(image: np.ndarray, matrix: list | np.ndarray, fill: tuple) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.warpAffine(image, np.asarray(matrix, np.float64), (width, height), borderValue=fill)


def _shift(image: np.ndarray, left: float, up: float, fill: tuple) -> np.ndarray:
    """Copy whole pixels, as at the official level: equal to the warp, but faster."""
    height, width = image.shape[:2]
    if left % 1 or up % 1 or abs(left) >= width or abs(up) >= height:
        return _warp(image, [[1, 0, -left], [0, 1, -up]], fill)
    x, y = int(left), int(up)
    kept = image[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    margins = max(-y, 0), max(y, 0), max(-x, 0), max(x, 0)
    return cv2.copyMakeBorder(kept, *margins, cv2.BORDER_CONSTANT, value=fill)


def _apply_tables(image: np.ndarray, make_table: Callable) -> np.ndarray:
    channels = cv2.split(image)
    counts = [cv2.calcHist([channel], [0], None, [256], [0, 256]) for channel in channels]
    tables = [make_table(count.ravel().astype(np.int64)) for count in counts]
    return cv2.LUT(image, np.stack(tables, axis=1).astype(np.uint8)[None])


def _stretch(counts: np.ndarray) -> np.ndarray:
    low, high = np.flatnonzero(counts)[[0, -1]]
    if low == high:
        return np.arange(256)
    return np.clip((np.arange(256) - low) * (255 / (high - low)), 0, 255)


def _flatten(counts: np.ndarray) -> np.ndarray:
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return np.arange(256)
    below = np.cumsum(counts) - counts
    return np.minimum((below + step // 2) // step, 255)
