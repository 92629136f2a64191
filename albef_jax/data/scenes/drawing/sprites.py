"""Objects painted once: each look as a square RGBA image with shading, outline and shadow.

Painting an object costs about a millisecond, moving a painted one into an image some
microseconds; there are only 256 looks, so each is kept at the few sizes that images need.
"""

from functools import lru_cache

import cv2
import numpy as np

from albef_jax.data.scenes.world.shapes import filled

REACH = 1.28  # half the side of a sprite in shape coordinates: room for outline and shadow

_INK = {  # RGB: the colour, and what its pattern is painted in
    "red": ((222, 32, 38), (255, 226, 214)),
    "orange": ((250, 134, 16), (255, 240, 212)),
    "yellow": ((252, 218, 22), (204, 146, 0)),
    "green": ((28, 146, 58), (214, 245, 206)),
    "blue": ((32, 84, 224), (208, 226, 255)),
    "purple": ((122, 40, 168), (238, 214, 252)),
    "pink": ((252, 122, 188), (255, 238, 246)),
    "black": ((34, 34, 40), (206, 206, 212)),
}
_LIGHT = np.array([-0.5, -0.62], np.float32)  # where the light comes from
_SHADOW = 0.34  # its darkness


@lru_cache(maxsize=512)
def sprite(shape: str, colour: str, texture: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One look, painted: colour times opacity and transparency, both uint8 `[side, side, 3]`."""
    fill, rim, shadow, light = _stencil(shape, side)
    ink, accent = (np.array(rgb, np.float32) for rgb in _INK[colour])
    pattern = _pattern(texture, side)
    paint = ink * (1 - pattern) + accent * pattern
    paint = np.where(light > 0, paint + (255 - paint) * light, paint * (1 + light))
    paint = paint * (1 - rim) + ink * 0.42 * rim
    opacity = fill + (1 - fill) * shadow
    premultiplied = paint * fill
    return _bytes(premultiplied), _bytes(np.repeat(255 * (1 - opacity), 3, axis=2))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _coordinates(side: int) -> tuple[np.ndarray, np.ndarray]:
    line = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) * REACH
    x, y = np.meshgrid(line, line)
    return x, y


@lru_cache(maxsize=64)
def _stencil(shape: str, side: int) -> tuple[np.ndarray, ...]:
    """Fill, rim and shadow coverage and the light's effect in [-1, 1], each `[side, side, 1]`."""
    unit = side / (2 * REACH)  # pixels
    fill = filled(shape, side, REACH)
    inner = cv2.GaussianBlur(fill, (0, 0), max(0.055 * unit, 0.4))
    rim = fill * np.clip((0.93 - inner) * 2.6, 0, 1)
    shifted = np.array([[1, 0, 0.07 * unit], [0, 1, 0.11 * unit]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(fill, shifted, (side, side)), (0, 0), 0.075 * unit)
    x, y = _coordinates(side)
    slope = x * _LIGHT[0] + y * _LIGHT[1]
    gloss = np.exp(-((x + 0.34) ** 2 + (y + 0.42) ** 2) / 0.05) if shape == "ball" else 0
    light = 0.20 * slope + 0.6 * np.asarray(gloss, np.float32)
    return fill[..., None], rim[..., None], _SHADOW * shadow[..., None], light[..., None]


@lru_cache(maxsize=32)
def _pattern(texture: str, side: int) -> np.ndarray:
    """Where the pattern's accent goes, `[side, side, 1]` in [0, 1], smoothed over one pixel."""
    over = 4
    x, y = _coordinates(side * over)
    match texture:
        case "plain":
            marks = np.zeros_like(x)
        case "striped":
            marks = np.mod((x + y) / 2**0.5 + 0.11, 0.5) < 0.22
        case "dotted":
            row = np.floor(y / 0.46 + 0.5)
            dx = np.mod(x + 0.265 * np.mod(row, 2), 0.53) - 0.265
            marks = dx**2 + (y - 0.46 * row) ** 2 < 0.145**2
        case _:
            marks = (np.floor(x / 0.4) + np.floor(y / 0.4)) % 2 == 0
    fine = marks.astype(np.float32)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)[..., None]
