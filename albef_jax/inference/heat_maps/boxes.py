"""Grounding: the box that a heat map chooses, and whether it is the right one.

Boxes are `x, y, width, height` in pixels of the image. Shape letters: h, w heat map cells; H, W
image height and width; n boxes; N phrases.
"""

from collections.abc import Sequence

import numpy as np

from albef_jax.errors import UnsoundScores

# Official: the smallest overlap of a box that counts as found.
FOUND = 0.5


def enlarge(heatmap: np.ndarray, height: int, width: int) -> np.ndarray:
    """A heat map `[h, w]` at image size, `[H, W]`, bicubic.

    As the official evaluation does it: a = -0.75, cells have their centres at half, cells beyond
    the edge repeat it, no antialiasing. Values may fall a little below the lowest.

    Raises:
        UnsoundScores: a heat map that is not finite.
    """
    heatmap = np.asarray(heatmap)
    if not np.isfinite(heatmap).all():
        raise UnsoundScores(
            "the heat map has values that are not finite; check the model's weights"
        )
    rows, columns = (
        _bicubic(old, new) for old, new in zip(heatmap.shape, (height, width), strict=True)
    )
    return (rows @ heatmap.astype(np.float64) @ columns.T).astype(np.float32)


def _bicubic(old: int, new: int, a: float = -0.75) -> np.ndarray:
    """The weight of each of `old` cells in each of `new` ones, `[new, old]`."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(place).astype(int) - 1
    weights = np.zeros((new, old))
    for tap in range(4):
        far = np.abs(place - (first + tap))
        near_weight = (a + 2) * far**3 - (a + 3) * far**2 + 1
        far_weight = a * (far**3 - 5 * far**2 + 8 * far - 4)
        cell = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), cell), np.where(far <= 1, near_weight, far_weight))
    return weights


def rank_boxes(
    heat: np.ndarray, boxes: np.ndarray, alpha: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes by the heat inside, divided by their area to the power `alpha`.

    The best box wins with any score, the first of equals. (The official loop requires a score
    above 0, and otherwise uses the box of the previous phrase.)

    Args:
        heat: `[H, W]`, at image size.
        boxes: `[n, 4]`; there may be none.

    Returns:
        Box numbers, best first, and the score of each box in the given order; both `[n]`.

    Raises:
        ValueError: a box without an area.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    flat = np.flatnonzero(~(boxes[:, 2:] > 0).all(axis=1))
    if flat.size:
        raise ValueError(
            f"box {flat[0]}, {boxes[flat[0]].tolist()}, has no area: boxes are x, y, width, "
            "height with a width and a height above 0"
        )
    inside = [heat[_slices(box)].sum(dtype=np.float64) for box in boxes]
    scores = np.array(inside) / (boxes[:, 2] * boxes[:, 3]) ** alpha
    return np.argsort(-scores, kind="stable"), scores


def _slices(box: np.ndarray) -> tuple[slice, slice]:
    """The whole pixels of a box, fractions cut off as in the official code; `[rows, columns]`."""
    x, y, width, height = (float(number) for number in box)
    left, top, right, bottom = (max(0, int(edge)) for edge in (x, y, x + width, y + height))
    return slice(top, bottom), slice(left, right)


def iou(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Intersection over union of two boxes, by the official pixel count.

    A box's last pixel is at `x + width - 1`, so an overlap one pixel wide counts as none.
    """
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right = min(a[0] + a[2] - 1, b[0] + b[2] - 1)
    bottom = min(a[1] + a[3] - 1, b[1] + b[3] - 1)
    common = (right - left + 1) * (bottom - top + 1) if left < right and top < bottom else 0
    return float(common / (a[2] * a[3] + b[2] * b[3] - common))


def is_found(chosen: Sequence[float] | np.ndarray | None, truth: Sequence[float]) -> bool:
    """Whether the chosen box is the true one, or overlaps it by half; False for None."""
    return chosen is not None and iou(truth, chosen) >= FOUND


def grounding_accuracy(
    chosen: Sequence[Sequence[float] | None],
    truths: Sequence[Sequence[float]],
    splits: Sequence[str],
) -> dict[str, float]:
    """Percentage of phrases whose box was found, by split in order of appearance.

    Args:
        chosen: a box for each phrase; None without candidates, which counts as not found.
        truths: the true boxes.
        splits: the part of the data that each phrase belongs to.
    """
    hits: dict[str, list[bool]] = {}
    for box, truth, split in zip(chosen, truths, splits, strict=True):
        hits.setdefault(split, []).append(is_found(box, truth))
    return {split: 100 * float(np.mean(found)) for split, found in hits.items()}


def pointing_game(heat: np.ndarray, box: Sequence[float]) -> bool:
    """Whether the maximum of `heat` `[H, W]` is inside a box; a tie with outside is a miss."""
    outside = np.array(heat, np.float64)
    rows, columns = _slices(np.asarray(box))
    inside = np.max(outside[rows, columns], initial=-np.inf)
    outside[rows, columns] = -np.inf
    return bool(inside > np.max(outside))
