"""The sources of pairs in the configuration, checked before anything is opened."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ml_collections import ConfigDict

from albef_jax.config.data_paths import data_files, data_path
from albef_jax.config.file_patterns import (
    is_remote,
    is_unreadable,
    nearest_file,
    not_here,
    not_read,
    split_list,
)
from albef_jax.data.annotations.checks import did_you_mean

SOURCES = ("json", "webdataset", "array_record", "tfds", "scenes")
_FILES = {"json": "annotation files", "webdataset": "tar shards", "array_record": "shards"}
# The sources that use an option for a field of a record.
_HEEDED = {"caption_field": ("webdataset", "tfds"), "image_field": ("tfds",)}

_MISSING_SHOWN = 5


@dataclass(frozen=True)
class PairFiles:
    """Pairs of one kind: all, or a part of `data.mixture`.

    Attributes:
        source: one of `SOURCES`.
        files: patterns (see `file_patterns.expand`), or data sets for 'tfds'; comma-separated.
        image_root: where relative image paths of 'json' start from.
        caption_field: the field with the captions ('webdataset', 'tfds'); empty for the usual.
        image_field: the feature with the image, for 'tfds'; empty for the only one.
        name: of the part, used in the names of its bad samples.
        weight: its share of an epoch, relative to the other parts; None for its size.
        setting: where the files are named in the configuration, for messages.
    """

    source: str
    files: str = ""
    image_root: str = ""
    caption_field: str = ""
    image_field: str = ""
    name: str = ""
    weight: float | None = None
    setting: str = "data.train_files"


_KEYS = tuple(one.name for one in fields(PairFiles) if one.name != "setting")
_TEXTS = tuple(key for key in _KEYS if key != "weight")


def train_files(config: ConfigDict) -> PairFiles:
    """The training pairs if `data.mixture` is empty."""
    return _plain(config, config.data.source, "train_files")


def eval_files(config: ConfigDict) -> PairFiles | None:
    """The evaluation pairs; None for the training pairs."""
    source = config.data.eval_source or config.data.source
    if source != "scenes" and not split_list(config.data.eval_files):
        return None
    return _plain(config, source, "eval_files")


def mixture(config: ConfigDict) -> tuple[PairFiles, ...]:
    """The parts of `data.mixture`; only for one without problems."""
    return tuple(
        PairFiles(**part, setting=_place(number, part))
        for number, part in enumerate(config.data.mixture)
    )


def problems(config: ConfigDict, eval_only: bool) -> Iterator[str]:
    """Problems of the pairs in a configuration, a line each."""
    data = config.data
    if data.eval_source not in ("", *SOURCES):
        hint = did_you_mean(data.eval_source, SOURCES)
        yield f"data.eval_source={data.eval_source!r}: choose one of {', '.join(SOURCES)}{hint}"
        return
    kinds = {data.source, data.eval_source}
    for key, sources in _HEEDED.items():
        if data[key] and not kinds & set(sources):
            yield f"data.{key} is for data.source={' and '.join(sources)}; leave it empty"
    held_out = eval_files(config)
    if data.mixture:
        found = list(_mixture_problems(config))
        yield from found
        if not found and not (eval_only and held_out):
            for part in mixture(config):
                yield from _file_problems(config, part, "files")
    elif not (eval_only and held_out):
        yield from _file_problems(config, train_files(config))
    if held_out:
        yield from _file_problems(config, held_out)


def _plain(config: ConfigDict, source: str, option: str) -> PairFiles:
    data = config.data
    captions, image = (
        data[key] if source in _HEEDED[key] else "" for key in ("caption_field", "image_field")
    )
    return PairFiles(
        source, data[option], data.image_root, captions, image, setting=f"data.{option}"
    )


def _place(number: int, part: Mapping[str, Any]) -> str:
    name = part.get("name")
    return f"data.mixture, part {number}{f' ({name})' if name else ''}"


def _mixture_problems(config: ConfigDict) -> Iterator[str]:
    """Problems of the parts as written; paths are not checked yet."""
    if config.data.train_files:
        yield "data.train_files and data.mixture exclude each other; leave one empty"
    names: set[Any] = set()
    parts = config.data.mixture
    for number, part in enumerate(parts):
        if not isinstance(part, Mapping | ConfigDict):
            yield f"data.mixture, part {number}: {part!r} is no dictionary of {', '.join(_KEYS)}"
            continue
        place = _place(number, part)
        for problem in _part_problems(part):
            yield f"{place}: {problem}"
        if part.get("name") in names:
            yield f"{place}: another part has that name; choose another"
        names.add(part.get("name"))
    weighted = [isinstance(part, Mapping | ConfigDict) and "weight" in part for part in parts]
    if any(weighted) and not all(weighted):
        yield "data.mixture: give every part a 'weight', or none (then sizes are the weights)"


def _part_problems(part: Mapping[str, Any]) -> Iterator[str]:
    for key in part:
        if key not in _KEYS:
            yield f"no such key {key!r}{did_you_mean(key, _KEYS)}"
    for key in _TEXTS:
        if not isinstance(part.get(key, ""), str):
            yield f"{key!r} must be a text, not {part[key]!r}"
    if not part.get("name"):
        yield "has no 'name', which its bad samples need"
    source, weight = part.get("source"), part.get("weight", 1)
    if source not in SOURCES:
        hint = did_you_mean(source, SOURCES)
        yield f"'source' is {source!r}: choose one of {', '.join(SOURCES)}{hint}"
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e9:
        yield f"'weight' is {weight!r}: must be a number greater than 0"
    for key, sources in _HEEDED.items():
        if part.get(key) and source not in sources:
            yield f"{key!r} is for {' and '.join(sources)}; leave it out"


def _file_problems(config: ConfigDict, part: PairFiles, key: str = "") -> Iterator[str]:
    """Files and directories that do not exist."""
    setting = part.setting if not key else f"{part.setting}: {key}"
    if part.source not in SOURCES or part.source == "scenes":
        return
    if not (entries := split_list(part.files)):
        remedy = "" if key else ", or set data.source=scenes"
        yield f"{setting} is empty: name {_FILES.get(part.source, 'data sets')}{remedy}"
    named = (*entries, config.data.root)
    if part.source == "tfds":
        yield from (not_here(setting, name) for name in [*filter(is_remote, named)][:1])
        return
    if unreadable := next(filter(is_unreadable, named), None):
        yield not_read(setting, unreadable)
        return
    missing = [path for path in data_files(config, part.files) if not path.is_file()]
    for path in missing[:_MISSING_SHOWN]:
        yield f"{setting}: no such file: {path}{nearest_file(path)}"
    if more := missing[_MISSING_SHOWN:]:
        yield f"{setting}: ... and {len(more)} more that are not there"
    if part.source == "json":
        yield from _root_problems(config, part, key)


def _root_problems(config: ConfigDict, part: PairFiles, key: str) -> Iterator[str]:
    setting = "data.image_root" if not key else f"{part.setting}: image_root"
    if is_unreadable(part.image_root):
        yield not_read(setting, part.image_root)
        return
    folder = data_path(config, part.image_root)
    if not folder.is_dir():
        yield f"{setting}: no such directory: {folder}{nearest_file(folder)}"
