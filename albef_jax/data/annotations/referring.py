"""Referring expressions in the official format of RefCOCO+, for training and for evaluation."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from albef_jax.data.annotations.checks import (
    image_of,
    joined,
    parsed_items,
    probe_images,
    read_image,
    running_numbers,
    text_of,
)
from albef_jax.data.annotations.refer_files import (
    Box,
    Instances,
    box_of,
    box_problem,
    read_candidates,
    read_instances,
    read_references,
    scale_problem,
)
from albef_jax.data.records import Referring
from albef_jax.errors import BadSample
from albef_jax.storage.paths import AnyPath, path_of, under

NO_BOXES = np.zeros((0, 4), np.float32)


class _Row(NamedTuple):
    image: str
    text: str
    ref_id: int = -1
    box: Box | None = None
    candidates: np.ndarray = NO_BOXES
    split: str = "train"


class _Thing(NamedTuple):
    """The truth about a referred thing: its box, part, image's key and size."""

    box: Box
    split: str
    image_id: str
    size: tuple[int, int] | None


class JsonReferring:
    """Random access to the expressions of one or more annotation files, one after the other.

    An item is `{"image", "text"}` in training, `{"image", "text", "ref_id"}` in evaluation. The
    truth of an evaluation item is looked up in REFER's files, or is in the item itself as "bbox"
    ([x, y, width, height] in pixels) and, optionally, "split"; its candidates are then found under
    the item's "image_id" or, without one, under its "image".

    Args:
        files: paths of JSON files.
        image_root: directory that relative image paths start from.
        training: whether only texts and images are needed.
        references: REFER's `refs(unc).p`, or the same list as JSON; None if items have boxes.
        instances: COCO's `instances.json`; goes with `references`.
        detections: candidate boxes, `dets.json` or `cocos.json`; needed for evaluation.
        setting: where the files are named in the configuration, for messages.

    Attributes:
        dropped_candidates: how many candidate boxes were left out because they have no area.

    Raises:
        ValueError: unusable files or items, all named in one message; or more than half of the
            probed images are missing.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        image_root: str | AnyPath,
        *,
        training: bool,
        references: str | AnyPath | None = None,
        instances: str | AnyPath | None = None,
        detections: str | AnyPath | None = None,
        setting: str = "data.train_files",
    ):
        self._root = path_of(image_root)
        self.dropped_candidates = 0
        if training:
            self._rows = list(parsed_items(files, _parse_for_training, setting))
        else:
            truth = _Truth(references, instances, detections)
            self._rows = list(parsed_items(files, truth.parse, setting))
            self.dropped_candidates = truth.dropped
        self._image_ids = running_numbers(row.image for row in self._rows)
        probe_images(self._root, [row.image for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Referring:
        """The expression at `index`.

        Raises:
            BadSample: its image is missing, unusable, or too small for the box.
        """
        row = self._rows[index]
        path = under(self._root, row.image)
        image = read_image(path, self.upright)
        size = image.shape[1], image.shape[0]
        if row.box is not None and (problem := box_problem(row.box, size)):
            raise BadSample(str(path), f"ref_id {row.ref_id}: box {problem}")
        return Referring(
            str(path),
            image,
            row.text,
            int(self._image_ids[index]),
            row.ref_id,
            row.box,
            row.candidates,
            row.split,
        )

    def texts(self, index: int) -> tuple[str, ...]:
        """The expression alone."""
        return (self._rows[index].text,)

    def image_paths(self) -> Iterator[str]:
        """The path of each expression's image."""
        return joined(self._root, (row.image for row in self._rows))


def _parse_for_training(item: dict[str, Any]) -> _Row:
    return _Row(image_of(item), text_of(item, "text"))


class _Truth:
    """Looks up the boxes of evaluation items."""

    def __init__(
        self,
        references: str | AnyPath | None,
        instances: str | AnyPath | None,
        detections: str | AnyPath | None,
    ):
        if detections is None:
            raise ValueError("no candidate boxes: set data.detections to dets.json or cocos.json")
        if (references is None) != (instances is None):
            raise ValueError("data.references and data.instances go together: set both or neither")
        self._references = {} if references is None else read_references(references)
        self._instances = Instances({}, {}) if instances is None else read_instances(instances)
        self._candidates = read_candidates(detections)
        self._kept: dict[tuple, np.ndarray] = {}
        self.dropped = 0

    def parse(self, item: dict[str, Any]) -> _Row:
        """A row of an evaluation item; raises `ValueError` with the problem."""
        image, text, ref_id = image_of(item), text_of(item, "text"), item.get("ref_id")
        if type(ref_id) is not int:
            raise ValueError(f"'ref_id' must be a whole number, not {ref_id!r}")
        try:
            thing = _own_thing(item, image) if "bbox" in item else self._referred(ref_id)
            if problem := box_problem(thing.box, thing.size) or scale_problem([thing.box]):
                raise ValueError(f"box {problem}")
            candidates = self._candidates_of(thing)
        except ValueError as error:
            raise ValueError(f"ref_id {ref_id}: {error}") from None
        return _Row(image, text, ref_id, thing.box, candidates, thing.split)

    def _referred(self, ref_id: int) -> _Thing:
        if not self._references:
            raise ValueError("has no 'bbox', and data.references is not set; give one of them")
        if (reference := self._references.get(ref_id)) is None:
            raise ValueError("is not in data.references; these files do not belong together")
        box = self._instances.boxes.get(reference.ann_id)
        size = self._instances.sizes.get(reference.image_id)
        if box is None or size is None:
            lacking = f"box {reference.ann_id}" if box is None else f"image {reference.image_id}"
            raise ValueError(f"{lacking} is not in data.instances")
        return _Thing(box, reference.split, str(reference.image_id), size)

    def _candidates_of(self, thing: _Thing) -> np.ndarray:
        key = thing.image_id, thing.size
        if key not in self._kept:
            given = self._candidates.get(thing.image_id, NO_BOXES)
            boxes = given[(given[:, 2:] > 0).all(axis=1)]  # COCO itself has boxes without an area
            if not len(boxes):
                raise ValueError(f"data.detections has no usable box for image {thing.image_id!r}")
            if problem := scale_problem(boxes):
                raise ValueError(f"candidate {problem}")
            for box in boxes:
                if problem := box_problem(box, thing.size):
                    raise ValueError(f"candidate {problem}")
            self.dropped += len(given) - len(boxes)
            self._kept[key] = boxes
        return self._kept[key]


def _own_thing(item: dict[str, Any], image: str) -> _Thing:
    """The truth in the item itself."""
    if (box := box_of(item["bbox"])) is None:
        raise ValueError(f"'bbox' must be [x, y, width, height], not {item['bbox']!r}")
    split = item.get("split", "val")
    if not isinstance(split, str) or not split:
        raise ValueError(f"'split' must be a text as val, testA or testB, not {split!r}")
    return _Thing(box, split, str(item.get("image_id", image)), None)
