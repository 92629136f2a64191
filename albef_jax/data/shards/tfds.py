"""Pairs of a prepared TensorFlow Datasets data set, read without TensorFlow.

Only data sets in the array_record format can be read. Images are decoded from the stored bytes, as
everywhere else. The code that made a data set is not run.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.data.annotations.checks import did_you_mean, refuse, usable_captions
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair
from albef_jax.errors import BadSample

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CAPTIONS = ("captions", "captions/text", "caption", "caption/text", "text")
_IMAGE_IDS = ("image_id", "image/id")
_MAX_ID = 2**31


@dataclass(frozen=True)
class _Split:
    """One opened split, and its features in use."""

    title: str
    rows: Sequence[dict[str, Any]]
    image: str
    captions: str
    image_id: str | None
    folder: Path  # where dataset_info.json is


class TfdsPairs:
    """Random access to the pairs of one or more splits, one after the other.

    If a single split is given and has a feature "image_id" or "image/id", this identifies records
    of the same image; otherwise each record is an image of its own.

    Args:
        names: `NAME[/CONFIG][:VERSION]:SPLIT` each, as `coco_captions:train[:50%]`; instead of the
            name, the directory that holds `dataset_info.json`.
        data_dir: where data sets are; empty for TensorFlow Datasets' own default.
        image_field: the feature with the image; empty for the only one.
        caption_field: the feature with the text or texts, as `captions/text`; empty for the usual
            names.
        setting: the option with the names, for messages.

    Raises:
        ValueError: a data set that is unknown, not prepared, in another format, or without the
            features; all problems in one message, each with its remedy.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        names: Sequence[str],
        data_dir: str | Path = "",
        image_field: str = "",
        caption_field: str = "",
        setting: str = "data.train_files",
    ):
        if not names:
            raise ValueError(f"no data sets given ({setting})")
        problems: list[str] = []
        self._splits: list[_Split] = []
        for name in names:
            try:
                split = _open(name, str(data_dir), image_field, caption_field)
                self._splits.append(split)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        refuse(problems, f"the data sets of {setting} cannot be used:")
        self._starts = np.cumsum([0, *(len(split.rows) for split in self._splits)])

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the data sets: their descriptions and their shards."""
        folders = dict.fromkeys(split.folder for split in self._splits)
        return tuple(
            file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()
        )

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`, named `split/number in the split`; raises `BadSample`."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index`, not decoded; raises `BadSample` if its caption is unusable."""
        index = range(len(self))[index]
        number = int(np.searchsorted(self._starts, index, "right")) - 1
        split, place = self._splits[number], int(index - self._starts[number])
        name = f"{split.title}/{place}"
        try:
            row = split.rows[place]
            texts = _decoded(_at(row, split.captions))
        except UnicodeDecodeError:
            raise BadSample(name, "its caption is not UTF-8") from None
        except RuntimeError as error:
            reason = str(error).partition(";")[0]
            raise BadSample(name, f"the data set's file is damaged here: {reason}") from None
        captions = usable_captions(name, texts)
        image_id = index if split.image_id is None else int(_at(row, split.image_id))
        if len(self._splits) > 1 or not 0 <= image_id < _MAX_ID:
            image_id = index
        return EncodedPair(name, row[split.image], captions, image_id)


def split_of(name: str) -> tuple[str, str]:
    """The data set and the split of `coco_captions:1.1.0:train[:50%]`.

    Raises:
        ValueError: no split is named.
    """
    # Colons in brackets belong to the split.
    head, bracket, slices = name.partition("[")
    data_set, _, split = head.rpartition(":")
    if not data_set or not split or _VERSION.fullmatch(split):
        raise ValueError(f"names no split; write {name}:train")
    return data_set, split + bracket + slices


def _open(name: str, data_dir: str, image_field: str, caption_field: str) -> _Split:
    import tensorflow_datasets as tfds  # takes seconds

    data_set, split = split_of(name)
    builder = _builder(data_set, data_dir)
    found = builder.info.file_format
    if found != tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"it is stored as {found.value if found else 'nothing known'}, which only TensorFlow "
            f"reads; {_preparation(data_set, data_dir)}"
        )
    features = builder.info.features
    leaves = dict(sorted(_leaves(features)))
    images = sorted(key for key, one in features.items() if isinstance(one, tfds.features.Image))
    texts = [key for key, one in leaves.items() if _kind(one) in ("O", "S", "U")]
    image = _chosen("image_field", image_field, images, images)
    captions = _chosen("caption_field", caption_field, texts, _CAPTIONS)
    skip = tfds.decode.SkipDecoding()
    try:
        rows = builder.as_data_source(split, decoders=dict.fromkeys(images, skip))
    except ValueError as error:
        splits = ", ".join(builder.info.splits)
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{reason}; it has the splits {splits}, and slices of them") from None
    ids = [key for key in _IMAGE_IDS if key in leaves and _kind(leaves[key]) in ("i", "u")]
    return _Split(name, rows, image, captions, ids[0] if ids else None, Path(builder.data_dir))


def _builder(data_set: str, data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    folder = Path(data_dir) / data_set
    if (folder / "dataset_info.json").is_file():
        return tfds.builder_from_directory(folder)
    try:
        return tfds.core.read_only_builder.builder_from_files(data_set, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError:
        pass
    where = data_dir or tfds.core.constants.DATA_DIR
    known = tfds.list_builders(with_community_datasets=False)
    name = re.split("[:/]", data_set)[0]
    if there := _names(Path(where) / name):
        raise ValueError(f"{Path(where) / name} has only {', '.join(there)}; name one of them")
    if name in known:
        raise ValueError(f"not prepared in {where}; {_preparation(data_set, data_dir)}")
    raise ValueError(
        f"no such data set in {where}, and none of that name in TensorFlow Datasets"
        f"{did_you_mean(name, [*known, *_names(Path(where))])}"
    )


def _names(where: Path) -> list[str]:
    """The subdirectories: data sets, or versions and configurations of one."""
    return sorted(entry.name for entry in where.iterdir()) if where.is_dir() else []


def _preparation(data_set: str, data_dir: str) -> str:
    at = f" --data_dir={data_dir}" if data_dir else ""
    return (
        "prepare it, where TensorFlow is installed, by "
        f"`tfds build {data_set} --file_format=array_record{at}`"
    )


def _leaves(features: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Features by path, those in lists and dictionaries too."""
    import tensorflow_datasets as tfds

    for key, one in features.items():
        inner = one.feature if isinstance(one, tfds.features.Sequence) else one
        if isinstance(inner, tfds.features.FeaturesDict):
            yield from _leaves(inner, f"{prefix}{key}/")
        else:
            yield prefix + key, inner


def _kind(feature: Any) -> str:
    """NumPy's letter for a feature's type; empty for a feature of several parts."""
    try:
        return np.dtype(feature.np_dtype).kind
    except TypeError:
        return ""


def _chosen(option: str, wanted: str, there: Sequence[str], usual: Sequence[str]) -> str:
    """The feature to use: as configured, else the only usual one."""
    if wanted:
        if wanted in there:
            return wanted
        raise ValueError(
            f"data.{option}={wanted}: no such feature{did_you_mean(wanted, there)}; "
            f"it has {', '.join(there) or 'none that could serve'}"
        )
    found = [key for key in usual if key in there]
    if len(found) == 1:
        return found[0]
    kind = "images" if option == "image_field" else "captions"
    raise ValueError(
        f"which feature has the {kind}? Set data.{option} to one of "
        f"{', '.join(there) or '... but there is none that could serve'}"
    )


def _at(row: dict[str, Any], path: str) -> Any:
    """The value at a path; names of features may hold slashes themselves."""
    if path in row:
        return row[path]
    head, _, rest = path.partition("/")
    while head not in row:
        more, _, rest = rest.partition("/")
        head = f"{head}/{more}"
    return _at(row[head], rest)


def _decoded(given: Any) -> Any:
    """Texts from the bytes that TensorFlow Datasets returns."""
    if isinstance(given, bytes):
        return given.decode("utf-8")
    return [_decoded(one) for one in given] if isinstance(given, list | np.ndarray) else given
