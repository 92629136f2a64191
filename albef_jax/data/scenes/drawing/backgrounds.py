"""The six backgrounds, pale enough that every object colour stands out."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from albef_jax.data.scenes.world.graph import Background

_MASTER = 640  # pixels along one side of a pattern before it is resized
_SPAN = 1.5  # images along one side of a pattern: room to cut different parts out


def paint_background(background: Background, size: int) -> np.ndarray:
    """A fresh uint8 RGB image `[size, size, 3]` of the background alone."""
    pattern = _pattern(background.kind, background.variant, size)
    room = len(pattern) - size
    top, left = int(background.y * room), int(background.x * room)
    return pattern[top : top + size, left : left + size].copy()


@lru_cache(maxsize=64)
def _pattern(kind: str, variant: int, size: int) -> np.ndarray:
    side = round(size * _SPAN)
    return cv2.resize(_master(kind, variant), (side, side), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=32)
def _master(kind: str, variant: int) -> np.ndarray:
    rng = np.random.default_rng([variant, len(kind)])
    painted = _PAINTERS[kind](rng)
    tint = 1 + 0.02 * rng.uniform(-1, 1, 3)
    return np.clip(painted * tint, 0, 255).astype(np.uint8)


def _flat(*colour: float) -> np.ndarray:
    return np.full((_MASTER, _MASTER, 3), colour, np.float32)


def _noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth noise `[M, M, 1]` of about unit spread, with cells as asked."""
    cells = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(cells, (_MASTER, _MASTER), interpolation=cv2.INTER_CUBIC)[..., None]


def _ruled(canvas: np.ndarray, step: int, colour: tuple[int, int, int], width: int) -> None:
    for y in range(step // 2, _MASTER, step):
        canvas[y : y + width] = colour


def _paper(rng: np.random.Generator) -> np.ndarray:
    canvas = _flat(250, 247, 236) + 1.5 * _noise(rng, 90, 90)
    _ruled(canvas, 48, (158, 184, 216), 6)
    return canvas


def _grid(rng: np.random.Generator) -> np.ndarray:
    canvas = _flat(238, 241, 244) + 1.0 * _noise(rng, 90, 90)
    _ruled(canvas, 54, (184, 196, 206), 6)
    _ruled(canvas.transpose(1, 0, 2), 54, (184, 196, 206), 6)
    return canvas


def _wood(rng: np.random.Generator) -> np.ndarray:
    canvas = _flat(219, 190, 152) + 5 * _noise(rng, 70, 5) + 4 * _noise(rng, 160, 9)
    edges = range(0, _MASTER, 107)
    for top in edges:
        canvas[top : top + 107] += rng.uniform(-9, 9)
        canvas[top : top + 5] *= 0.7
        seam = int(rng.integers(_MASTER))
        canvas[top : top + 107, seam : seam + 5] *= 0.75
    return canvas


def _sky(rng: np.random.Generator) -> np.ndarray:
    down = np.linspace(0, 1, _MASTER, dtype=np.float32)[:, None, None]
    canvas = _flat(158, 205, 240) + down * _flat(46, 26, 8)
    puffs = _noise(rng, 7, 5) + 0.5 * _noise(rng, 16, 12) + 0.22 * _noise(rng, 40, 32)
    cloud = np.clip((puffs - 0.25) * 1.4, 0, 1)
    return canvas * (1 - cloud) + _flat(253, 253, 255) * cloud


def _grass(rng: np.random.Generator) -> np.ndarray:
    canvas = np.ascontiguousarray(_flat(184, 214, 148) + 5 * _noise(rng, 9, 9))
    for shade in (-34, 22, -22, 26):
        blades = np.zeros((_MASTER, _MASTER), np.uint8)
        for x, y, lean, length in rng.integers(
            (0, 0, -9, 14), (_MASTER, _MASTER, 10, 34), (420, 4)
        ):
            ends = (int(x), int(y)), (int(x + lean), int(y - length))
            cv2.line(blades, *ends, (255.0,), 3, cv2.LINE_AA)
        canvas += blades[..., None] * np.float32(shade / 255)
    return canvas


def _sand(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:_MASTER, 0:_MASTER].astype(np.float32)
    ripples = np.sin((y + 14 * _noise(rng, 7, 5)[..., 0] + 0.25 * x) / 11)[..., None]
    grains = cv2.GaussianBlur(rng.standard_normal((_MASTER, _MASTER)), (0, 0), 1.4)[..., None]
    return _flat(236, 221, 188) + 7 * ripples + 34 * grains


_PAINTERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "paper": _paper,
    "grid": _grid,
    "wood": _wood,
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
}
