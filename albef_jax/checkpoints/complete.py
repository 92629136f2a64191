"""Checks that a step that Orbax wrote is complete, down to the last block of each array.

No array is read: the index of each item has the file and the position of every block.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorstore as ts

_TREE, _INDEX = "_METADATA", "manifest.ocdbt"
_REASON = 300  # characters


def lack(step: Path) -> str | None:
    """What the items of a step lack, in words; None if all arrays are complete."""
    items = sorted(path for path in step.iterdir() if path.is_dir())
    if not items:
        return "it is empty"
    reasons = ((item.name, _lack(item)) for item in items)
    return next((f"{name}: {reason}" for name, reason in reasons if reason is not None), None)


def _lack(item: Path) -> str | None:
    for name in (_TREE, _INDEX):
        if not (item / name).is_file():
            return f"{name} is missing"
    try:
        return _out_of_bounds(item) or _not_stored(item)
    except (ValueError, KeyError, OSError) as error:  # what is damaged, or TensorStore's kinds
        return " ".join(str(error).split())[:_REASON]


def _arrays(item: Path) -> Iterator[str]:
    """The names of the arrays of an item."""
    leaves = json.loads((item / _TREE).read_text("utf-8"))["tree_metadata"]
    for leaf in leaves.values():
        if not leaf["value_metadata"].get("skip_deserialize"):  # None, or an empty branch
            yield ".".join(str(part["key"]) for part in leaf["key_metadata"])


def _out_of_bounds(item: Path) -> str | None:
    """A file in the index that is missing or too short."""
    base = ts.KvStore.open(_base(item)).result()
    for file, end in _ends(base).items():
        path = item / file
        if not path.is_file():
            return f"{file} is missing"
        if path.stat().st_size < end:
            return f"{file} ends before byte {end}"
    return None


def _ends(base: ts.KvStore) -> dict[str, int]:
    """The smallest possible length of each file, by the index."""
    ends: dict[str, int] = {}
    manifest: Any = ts.ocdbt.dump(base).result()
    nodes = [manifest["versions"][-1]["root"]["location"]]
    while nodes:
        node: Any = ts.ocdbt.dump(base, node=nodes[-1]).result()
        places = [nodes.pop()]
        for entry in node["entries"]:
            if "location" in entry:
                nodes.append(entry["location"])
            elif "indirect_value" in entry:
                places.append(entry["indirect_value"])
        for place in places:
            file, start, length = _parts(place)
            ends[file] = max(ends.get(file, 0), start + length)
    return ends


def _parts(place: str) -> tuple[str, int, int]:
    """The file, first byte and length of `[KIND:]FOLDER:FILE:START:LENGTH`."""
    *_, folder, name, start, length = place.split(":")
    return folder + name, int(start), int(length)


def _not_stored(item: Path) -> str | None:
    """An array that the index lacks, entirely or in part."""
    for name in _arrays(item):
        kvstore = {"driver": "ocdbt", "base": _base(item), "path": f"{name}/"}
        array = ts.open({"driver": "zarr", "kvstore": kvstore}).result()
        if not array.storage_statistics(query_fully_stored=True).result().fully_stored:
            return f"{name} is not stored in full"
    return None


def _base(item: Path) -> dict[str, str]:
    return {"driver": "file", "path": f"{item.as_posix()}/"}
