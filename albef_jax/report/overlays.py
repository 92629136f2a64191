"""Heat maps and boxes drawn onto images."""

from itertools import pairwise

import cv2
import numpy as np

from albef_jax.inference.heat_maps.boxes import enlarge

# Colour-blind readers can distinguish blue, orange and white; line styles differ, too. The key in
# `style.css` has the same colours.
TRUTH = (0, 114, 178)  # whole line
CHOSEN = (240, 150, 0)  # dashes, so that a true box below stays visible
OTHER = (255, 255, 255)  # thin
DARK = (20, 20, 20)

SIDE = 320


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """An image, uint8 `[H, W, 3]`, with `side` as its longer side, so that lines fit."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(scale * length)) for length in image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=kind)


def heat_over(image: np.ndarray, heatmap: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A heat map `[h, w]` over a grey image, uint8 RGB: dark where cold, yellow where hottest.

    Each map has its own scale, from 0 to its highest value; without positive values it is all cold.
    """
    canvas = resized(image, side)
    heat = np.maximum(enlarge(heatmap, *canvas.shape[:2]), 0)
    heat /= heat.max() or 1
    colors = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[
        ..., ::-1
    ]
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None]
    # The image shows through everywhere, least where it is hot.
    share = 0.45 + 0.3 * heat[..., None]
    return np.round(share * colors + (1 - share) * grey).astype(np.uint8)


def boxes_over(
    image: np.ndarray,
    boxes: np.ndarray,
    chosen: int | None = None,
    truth: tuple[float, ...] | None = None,
    side: int = SIDE,
) -> np.ndarray:
    """Boxes drawn onto an image, uint8 RGB.

    Args:
        boxes: candidates, `[n, 4]` as x, y, width, height in pixels of `image`.
        chosen: the number of the chosen one.
        truth: the true box.
    """
    canvas = resized(image, side).copy()
    scale = side / max(image.shape[:2])
    for number, box in enumerate(boxes):
        if number != chosen:
            _draw(canvas, scale * np.asarray(box), OTHER, 2)
    if truth is not None:
        _draw(canvas, scale * np.asarray(truth), TRUTH, 4)
    if chosen is not None:
        _draw(canvas, scale * np.asarray(boxes[chosen]), CHOSEN, 4, dash=side / 24)
    return canvas


def _draw(
    canvas: np.ndarray,
    box: np.ndarray,
    color: tuple[int, int, int],
    width: int,
    dash: float | None = None,
) -> None:
    """A rectangle with dark edges, visible on any background."""
    height, length = canvas.shape[:2]
    x0, x1 = np.clip((box[0], box[0] + box[2]), 0, length - 1)
    y0, y1 = np.clip((box[1], box[1] + box[3]), 0, height - 1)
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for thickness, paint in ((width + 2, DARK), (width, color)):
        for start, end in pairwise(corners):
            for first, last in _dashes(np.array(start), np.array(end), dash):
                cv2.line(canvas, first, last, paint, thickness)


def _dashes(
    start: np.ndarray, end: np.ndarray, dash: float | None
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The pieces of a line: all of it, or dashes of about the given length, at both ends too."""
    pieces = 1 if dash is None else 2 * int(np.hypot(*(end - start)) / (2 * dash)) + 1
    ends = np.rint(start + (end - start) * np.arange(pieces + 1)[:, None] / pieces).astype(int)
    at = [(x, y) for x, y in ends.tolist()]
    return list(zip(at[::2], at[1::2], strict=True))
