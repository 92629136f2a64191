"""The files behind the official grounding evaluation: REFER's references, true boxes, candidates.

`refs(unc).p` is a pickle. Our unpickler refuses every name and every external object, so nothing in
the file is executed; only lists, dicts, texts and numbers remain.
"""

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from albef_jax.data.annotations.checks import refuse
from albef_jax.data.annotations.files import read_json
from albef_jax.data.releases.formats import PICKLES
from albef_jax.storage.paths import AnyPath, path_of

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


class Reference(NamedTuple):
    """One referred thing: its image, its true box's id, and its part of the evaluation."""

    image_id: int
    ann_id: int
    split: str


class Instances(NamedTuple):
    """True boxes by their id, and (width, height) of images by image id."""

    boxes: dict[int, Box]
    sizes: dict[int, tuple[int, int]]


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, texts and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain data is read")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an outside object, and only plain data is read")


def read_references(file: str | AnyPath) -> dict[int, Reference]:
    """The references by ref_id, from REFER's `refs(unc).p` or from the same list as JSON.

    Raises:
        ValueError: the file cannot be read, holds more than plain data, or has unusable entries,
            all named in one message.
    """
    file = path_of(file)
    entries = read_plain_pickle(file) if file.suffix in PICKLES else None
    if entries is None:
        entries = read_json(file)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{file}: not a list of references; data.references is refs(unc).p")
    references: dict[int, Reference] = {}
    problems = []
    for number, entry in enumerate(entries):
        if problem := _reference_problem(entry):
            problems.append(f"{file}, item {number}: {problem}")
        else:
            told = Reference(entry["image_id"], entry["ann_id"], entry["split"])
            if references.setdefault(entry["ref_id"], told) != told:
                problems.append(f"{file}, item {number}: ref_id {entry['ref_id']} occurs twice")
    refuse(problems)
    return references


def _reference_problem(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}, not an object with 'ref_id'"
    for field, kind in (("ref_id", int), ("image_id", int), ("ann_id", int), ("split", str)):
        if type(entry.get(field)) is not kind:
            kind_name = "a whole number" if kind is int else "a text"
            return f"{field!r} must be {kind_name}, not {entry.get(field)!r}"
    return None


def read_plain_pickle(file: AnyPath) -> Any:
    """The contents of a pickle of plain data.

    Raises:
        ValueError: it cannot be read, or holds other data.
    """
    try:
        with file.open("rb") as opened:
            return _PlainUnpickler(opened, encoding="latin1").load()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(
            f"{file}: not a pickle of plain data ({error}); use the file as REFER publishes it, or "
            "write the same list as JSON to a file that ends in .json"
        ) from None


def read_instances(file: str | AnyPath) -> Instances:
    """True boxes and image sizes from a COCO-style `instances.json`.

    Raises:
        ValueError: the file cannot be read or has unusable entries, all named in one message.
    """
    content = read_json(path_of(file))
    boxes: dict[int, Box] = {}
    sizes: dict[int, tuple[int, int]] = {}
    problems = []
    for place, entry in _entries(content, "annotations", path_of(file)):
        box = box_of(entry.get("bbox"))
        if type(entry.get("id")) is not int or box is None:
            problems.append(f"{place}: must have a whole number 'id' and a 'bbox' of four numbers")
        else:
            boxes[entry["id"]] = box
    for place, entry in _entries(content, "images", path_of(file)):
        numbers = [entry.get(field, -1) for field in ("id", "width", "height")]
        if not all(type(number) is int and number >= 0 for number in numbers):
            problems.append(f"{place}: must have whole numbers 'id', 'width' and 'height'")
        else:
            sizes[numbers[0]] = numbers[1], numbers[2]
    refuse(problems)
    return Instances(boxes, sizes)


def _entries(content: Any, field: str, file: AnyPath) -> list[tuple[str, dict]]:
    entries = content.get(field) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{file}: {field!r} must be a list of objects; data.instances is COCO's instances.json"
        )
    return [(f"{file}, {field}, item {number}", entry) for number, entry in enumerate(entries)]


def read_candidates(file: str | AnyPath) -> dict[str, np.ndarray]:
    """Candidate boxes by image id (a text): float32 `[n, 4]`, (x, y, width, height) in pixels.

    A box is a list of four numbers or more, of which later ones (a score) are ignored, or an
    object with such a "bbox".

    Raises:
        ValueError: the file cannot be read or has unusable boxes, all named in one message.
    """
    content = read_json(path_of(file))
    if not isinstance(content, dict):
        raise ValueError(f"{file}: must hold one object, a list of boxes for each image id")
    candidates: dict[str, np.ndarray] = {}
    problems = []
    for image_id, given in content.items():
        boxes = [_candidate(entry) for entry in given] if isinstance(given, list) else [None]
        if None in boxes:
            problems.append(
                f"{file}, image {image_id!r}, box {boxes.index(None)}: must be a list "
                "[x, y, width, height] or an object with such a 'bbox'"
            )
        else:
            candidates[image_id] = np.array(boxes, np.float32).reshape(-1, 4)
    refuse(problems)
    return candidates


def _candidate(entry: Any) -> Box | None:
    given = entry.get("bbox") if isinstance(entry, dict) else entry
    return box_of(given[:4]) if isinstance(given, list) else None


def box_of(given: Any) -> Box | None:
    """Four finite numbers as a box; None if it is anything else."""
    if not isinstance(given, list) or len(given) != 4:
        return None
    if not all(type(number) in (int, float) and abs(number) < 1e9 for number in given):
        return None
    x, y, width, height = map(float, given)
    return x, y, width, height


def box_problem(box: Box | np.ndarray, size: tuple[int, int] | None) -> str | None:
    """The problem of a box in an image of this (width, height); None for an unknown size."""
    x, y, width, height = map(float, box)
    if width <= 0 or height <= 0:
        return f"{_told(box)} has no area"
    beyond = x < -1 or y < -1  # by more than a pixel, to allow for rounding
    if size is not None:
        beyond |= x + width > size[0] + 1 or y + height > size[1] + 1
    if not beyond:
        return None
    where = f"its image of {size[0]} x {size[1]} pixels" if size else "its image"
    return f"{_told(box)} reaches outside {where}; boxes are [x, y, width, height] in pixels"


def scale_problem(boxes: np.ndarray | Sequence[Box]) -> str | None:
    """The problem of an image's boxes that are scaled to 0..1 instead of pixels.

    All of them then lie within the first pixel. A single candidate of a detector may.
    """
    corners = np.asarray(boxes, np.float64)
    ends = corners[:, :2] + corners[:, 2:]
    if not len(corners) or (corners < 0).any() or (ends > 1).any():
        return None
    return (
        f"{_told(corners[0])} lies within one pixel, so it is scaled to 0..1; multiply it by the "
        "image's width and height: boxes are [x, y, width, height] in pixels"
    )


def _told(box: Box | np.ndarray) -> str:
    return "[" + ", ".join(f"{float(number):g}" for number in box) + "]"
