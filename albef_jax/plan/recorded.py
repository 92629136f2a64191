"""What was measured and compiled before: the JSON files of `benchmarks/results`."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of the model, what a file's setting may say; the values where it says nothing.
PLAIN = {
    "dtype": "float32",
    "attention": "xla",
    "remat_image": "none",
    "remat_text": "none",
    "remat_fusion": "none",
}
Setting = dict[str, str]


@dataclass(frozen=True)
class Record:
    """The speed of a pre-training step of the base model at 256 pixels on one device.

    Attributes:
        kind: the device, as JAX names it.
        setting: a value for each of `PLAIN`.
        pairs: in a step.
        mfu: operations needed, as a share of the device's peak.
        file: where it stands.
    """

    kind: str
    setting: Setting
    pairs: int
    pairs_per_s: float
    mfu: float
    file: str


def measured(folder: Path) -> list[Record]:
    """What cards reached: files of `benchmarks.train_step` and `benchmarks.on_device`."""
    return [
        record
        for file, content in _contents(folder, "train_step_*.json", "on_device_*.json")
        for entry in (content, *filter(_is_step, content.values()))
        if _is_step(entry)
        for record in _variants(file, entry)
    ]


def compiled(folder: Path) -> list[Record]:
    """What kernels allow at most: files of `benchmarks.compile_for`."""
    return [
        Record(
            entry["device"],
            _setting(entry["set"], dtype="bfloat16"),
            entry["pairs"],
            entry["bound_pairs_per_s"] / entry["devices"],
            entry["bound_mfu"],
            file,
        )
        for file, entries in _contents(folder, "compile_for_*.json")
        for entry in entries
        if _is_base(entry) and entry["bound_mfu"]
    ]


def closest(
    records: list[Record],
    setting: Setting,
    kind: str,
    pairs: float,
    comparable: list[Record] | None = None,
) -> Record | None:
    """The record of this setting that tells most of a device with so many pairs a step.

    One of the same device, if there is any; else one that has a counterpart in `comparable`; of
    these the nearest in size.
    """

    def distance(record: Record) -> tuple[bool, bool, float]:
        alone = counterpart(record, comparable or []) is None
        elsewhere = record.kind != kind
        return elsewhere, elsewhere and alone, abs(math.log(record.pairs / pairs))

    return min((one for one in records if one.setting == setting), key=distance, default=None)


def counterpart(record: Record, records: list[Record]) -> Record | None:
    """The one of the same device, setting and size."""

    def key(one: Record) -> tuple[str, Setting, int]:
        return one.kind, one.setting, one.pairs

    return next((one for one in records if key(one) == key(record)), None)


def cores(folder: Path) -> tuple[dict[str, Any], str] | None:
    """What a core of a host reads and transforms (`benchmarks.input_pipeline`), and the file."""
    found = _contents(folder, "input_pipeline_*.json")
    return next(((content, file) for file, content in found), None)


def _contents(folder: Path, *patterns: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            yield path.name, json.loads(path.read_text("utf-8"))


def _is_base(entry: dict[str, Any]) -> bool:
    return entry["preset"] == "base" and entry["image_size"] == 256


def _is_step(entry: Any) -> bool:
    return isinstance(entry, dict) and "variants" in entry and _is_base(entry)


def _variants(file: str, entry: dict[str, Any]) -> Iterator[Record]:
    count, _, kind = entry["device"].partition(" x ")
    for name, found in entry["variants"].items():
        order, *changes = name.split(",")
        if order != "fused" or not found.get("mfu") or entry["microbatches"] != 1:
            continue
        speed = found["pairs_per_s"] / int(count)
        pairs = entry["batch"] // int(count)
        yield Record(kind, _setting(changes), pairs, speed, found["mfu"], file)


def _setting(changes: list[str], **given: str) -> Setting:
    return PLAIN | given | dict(change.split("=") for change in changes)
