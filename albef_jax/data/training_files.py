"""The files that a run is trained on, for its fingerprint."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from albef_jax.config.data_paths import annotation_files
from albef_jax.config.file_patterns import expand
from albef_jax.data.pair_files import PairFiles, mixture, train_files
from albef_jax.data.shards.manifest import MANIFEST
from albef_jax.data.tokenizer import vocab_file
from albef_jax.storage.paths import AnyPath


class Inputs(NamedTuple):
    """Files, by the way they are digested; see `fingerprint.stamps`."""

    lists: tuple[AnyPath, ...]
    shards: tuple[AnyPath, ...]


def vocabulary(config: ConfigDict) -> Inputs:
    """The file of the vocabulary, which matters in evaluation, too."""
    return Inputs((vocab_file(config.data.vocab),), ())


def training(config: ConfigDict, source: Any) -> Inputs:
    """The files that `source` reads with this configuration, without images beside lists."""
    if "mixture" not in config.data:
        lists = annotation_files(config, "train_files") if config.data.source == "json" else ()
        return Inputs(lists, ())
    parts = mixture(config) or (train_files(config),)
    return of_pairs(parts, config.data.root, source)


def of_pairs(parts: Iterable[PairFiles], root: str, source: Any) -> Inputs:
    """The files of pairs of one or more kinds."""
    lists: list[AnyPath] = []
    shards: list[AnyPath] = list(getattr(source, "files", ()))  # found by a library
    for part in parts:
        if part.source in ("scenes", "tfds"):
            continue
        files = expand(root, part.files)
        (lists if part.source == "json" else shards).extend(files)
        if part.source == "array_record":
            beside = dict.fromkeys(file.parent / MANIFEST for file in files)
            lists.extend(manifest for manifest in beside if manifest.is_file())
    return Inputs(tuple(lists), tuple(shards))
