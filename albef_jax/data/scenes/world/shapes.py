"""The eight shapes: outlines, extents, and how much of one shape another one hides.

Outlines live in shape coordinates: the object's centre is (0, 0), y points down, and nothing is
farther than 1 from the centre along either axis.
"""

from functools import cache

import cv2
import numpy as np

SHAPES = ("ball", "square", "triangle", "star", "ring", "cross", "heart", "diamond")

CELLS = 40  # cells along one side of the occupancy table


def _round(radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    lengths = np.where(np.arange(10) % 2 == 0, 1.0, 0.48)[:, None]
    return lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1) + [0.0, 0.06]


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 16.5


def _cross(length: float, half_width: float) -> np.ndarray:
    a, b = length, half_width
    right = [(b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a)]
    return np.array(right + [(-x, -y) for x, y in right])


@cache
def outline(shape: str) -> tuple[np.ndarray, ...]:
    """Closed polygons `[N, 2]` in shape coordinates; a second one is a hole."""
    match shape:
        case "ball":
            return (_round(0.94),)
        case "ring":
            return (_round(0.98), _round(0.5))
        case "square":
            return (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.84,)
        case "triangle":
            return (np.array([(0, -0.95), (1, 0.8), (-1, 0.8)]),)
        case "diamond":
            return (np.array([(0, -1), (0.78, 0), (0, 1), (-0.78, 0)]),)
        case "cross":
            return (_cross(0.94, 0.34),)
        case "star":
            return (_star(),)
        case "heart":
            return (_heart(),)
    raise ValueError(f"scenes: shape {shape!r} is none of {', '.join(SHAPES)}")


@cache
def extent(shape: str) -> tuple[float, float, float, float]:
    """The outline's tight box (x0, y0, x1, y1) in shape coordinates."""
    points = outline(shape)[0]
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def filled(shape: str, side: int, reach: float = 1.0) -> np.ndarray:
    """Float coverage in [0, 1], `[side, side]`, of the square from -reach to reach."""
    over = 4
    scale = side * over / (2 * reach)
    contours = [((p + reach) * scale * 16 - 8).round().astype(np.int32) for p in outline(shape)]
    canvas = np.zeros((side * over, side * over), np.uint8)
    cv2.fillPoly(canvas, contours, (255.0,), cv2.LINE_AA, shift=4)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / np.float32(255)


@cache
def _table(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Which cells of [-1, 1]² the shape fills `[CELLS, CELLS]`, and their centres `[P, 2]`."""
    occupied = filled(shape, CELLS) >= 0.5
    rows, columns = np.nonzero(occupied)
    centres = (np.stack([columns, rows], axis=1) + 0.5) * (2 / CELLS) - 1
    return occupied, centres


def hidden_share(
    shape: str, radius: float, by: str, by_radius: float, dx: float, dy: float
) -> float:
    """The share of a shape's area that lies under another shape.

    Args:
        shape: the shape at the back.
        radius: its radius, in the units of dx and dy.
        by: the shape in front.
        by_radius: the radius of the shape in front.
        dx: centre of the shape in front minus centre of the shape at the back, along x.
        dy: the same along y.

    Returns:
        A share in [0, 1], exact to about 0.02.
    """
    if dx * dx + dy * dy >= 2 * (radius + by_radius) ** 2:
        return 0.0
    centres = _table(shape)[1]
    cells = ((centres * radius - (dx, dy)) * (0.5 * CELLS / by_radius) + 0.5 * CELLS).astype(int)
    inside = ((cells >= 0) & (cells < CELLS)).all(axis=1)
    columns, rows = cells[inside].T
    return float(np.count_nonzero(_table(by)[0][rows, columns])) / len(centres)
