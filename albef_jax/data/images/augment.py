"""Whole-image transforms: any uint8 RGB `[H, W, 3]` in, `[size, size, 3]` out.

Order and numbers are the official ones: crop, flip, RandAugment (LEDGER, Augmentation). Pixels
stay uint8; normalisation happens on the device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from albef_jax.data.images.decode import resize_for_eval
from albef_jax.data.images.randaugment import RandAugment

Transform = Callable[[np.ndarray, Any], np.ndarray]  # of an image, by a generator or None

ASPECT_RATIOS = (3 / 4, 4 / 3)
_LOG_RATIOS = (math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1]))
_CROP_TRIES = 10
_LARGEST_SCALE = 2.5


@dataclass(frozen=True)
class TrainTransform:
    """The training augmentation.

    Attributes:
        image_size: height and width that come out, in pixels.
        crop_scale: smallest and largest share of the area that a random crop keeps: (0.2, 1) in
            pre-training, (0.5, 1) in fine-tuning; None squeezes the whole image (grounding).
        flip: mirror left and right with probability one half.
        randaugment_ops: operations an image, 0 for none.
        randaugment_level: their strength, 0 to 10.
    """

    image_size: int
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    flip: bool = True
    randaugment_ops: int = 2
    randaugment_level: int = 7
    _randaugment: RandAugment = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        randaugment = RandAugment(self.randaugment_ops, self.randaugment_level)
        object.__setattr__(self, "_randaugment", randaugment)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment uint8 `[H, W, 3]` to `[image_size, image_size, 3]`; all randomness from `rng`."""
        if self.crop_scale is not None:
            top, left, height, width = draw_crop(
                image.shape[0], image.shape[1], self.crop_scale, rng
            )
            image = image[top : top + height, left : left + width]
        image = resize_crop(image, self.image_size)
        if self.flip and rng.random() < 0.5:
            image = cv2.flip(image, 1)
        return self._randaugment(image, rng)


@dataclass(frozen=True)
class EvalTransform:
    """Squeeze to a square, nothing random: evaluation, and training without augmentation.

    An image of the right size, such as a drawn one, is unchanged.
    """

    image_size: int

    def __call__(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Resize uint8 `[H, W, 3]` to `[image_size, image_size, 3]`; `rng` is not used."""
        return resize_for_eval(image, self.image_size)


def draw_crop(
    height: int, width: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """The box of a random resized crop, drawn as torchvision draws it.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        scale: smallest and largest share of the area.
        rng: the source of randomness.

    Returns:
        top, left, height and width. If no box fits in ten tries, the largest central box with an
        allowed aspect ratio.
    """
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(*_LOG_RATIOS))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = rng.integers(height - crop_height + 1)
            left = rng.integers(width - crop_width + 1)
            return int(top), int(left), crop_height, crop_width
    crop_height = min(height, round(width / ASPECT_RATIOS[0]))
    crop_width = min(width, round(height * ASPECT_RATIOS[1]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def resize_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Squeeze uint8 `[H, W, 3]` to `[size, size, 3]`, close to Pillow's bicubic and much faster.

    Pillow's filter grows with the scale and so averages when it shrinks; OpenCV's does not, and
    gives jagged images. A blur that fits the scale of each axis compensates for that.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    if max(height, width) > _LARGEST_SCALE * size:  # too far for three taps
        height, width = (
            2 * size if side > _LARGEST_SCALE * size else side for side in (height, width)
        )
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if max(height, width) > size:
        rows, columns = _blur(height / size), _blur(width / size)
        image = cv2.sepFilter2D(image, -1, columns, rows, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def _blur(scale: float) -> np.ndarray:
    """Three taps; their strength is fitted to Pillow's output at scales from 1 to 2.5."""
    side = 0.147 * max(0.0, scale**2 - 1)
    return np.array([side, 1, side], np.float32) / (1 + 2 * side)
