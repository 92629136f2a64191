"""Draws a scene as pixels: background, then each object's sprite, moved to its place."""

import cv2
import numpy as np

from albef_jax.data.scenes.drawing.backgrounds import paint_background
from albef_jax.data.scenes.drawing.sprites import REACH, sprite
from albef_jax.data.scenes.world.graph import Scene, SceneObject

# Sides at which sprites are kept: near enough that shrinking by bilinear sampling stays smooth.
_SIDES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def render(scene: Scene, size: int) -> np.ndarray:
    """The scene as a uint8 RGB image `[size, size, 3]`; equal scenes give equal pixels."""
    image = paint_background(scene.background, size)
    for thing in scene.objects:
        _paste(image, thing)
    return image


def _paste(image: np.ndarray, thing: SceneObject) -> None:
    """Blends one object into the image, in place, at a position finer than a pixel."""
    size = len(image)
    half = thing.radius * REACH * size
    side = next((side for side in _SIDES if side >= 2 * half), _SIDES[-1])
    left, top = max(int(thing.x * size - half), 0), max(int(thing.y * size - half), 0)
    right, bottom = int(thing.x * size + half) + 2, int(thing.y * size + half) + 2
    window = image[top:bottom, left:right]
    scale = 2 * half / side
    # OpenCV counts from pixel centres, we count from pixel corners.
    shift_x = thing.x * size - half - left + scale / 2 - 0.5
    shift_y = thing.y * size - half - top + scale / 2 - 0.5
    move = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    paint, clear = sprite(thing.shape, thing.colour, thing.texture, side)
    target = window.shape[1], window.shape[0]
    paint = cv2.warpAffine(paint, move, target)
    clear = cv2.warpAffine(clear, move, target, borderValue=(255, 255, 255))
    cv2.add(cv2.multiply(window, clear, scale=1 / 255), paint, dst=window)
