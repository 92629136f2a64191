"""How many items an epoch has, and how many steps a run."""

from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from albef_jax.config.data_paths import annotation_files
from albef_jax.config.file_patterns import split_list
from albef_jax.data.annotations.checks import read_list
from albef_jax.data.batching import steps_per_epoch

# Texts of the official pre-training lists, in thousands: the paper's table of pre-training data.
PAPER = {
    "coco.json": 567,
    "vg.json": 769,
    "sbu.json": 860,
    "cc3m_train.json": 2950,  # with the next one
    "cc3m_val.json": 0,
    "cc12m.json": 10_060,
}


@dataclass(frozen=True)
class Items:
    """Of an epoch, and how they are known."""

    count: int
    source: str


def items(config: ConfigDict, given: int | None) -> Items | None:
    """The items of an epoch: as given, counted in the files, of the paper; None if unknown.

    Raises:
        ValueError: a list cannot be read, or the number makes no sense.
    """
    if given is not None:
        if given < config.train.batch_size:
            raise ValueError(f"--pairs={given}: fewer than train.batch_size")
        return Items(given, "as given")
    if config.data.source == "scenes":
        return Items(config.data.scenes.train_size, "of the built-in world")
    if config.data.source != "json" or config.data.get("mixture"):
        return None
    files = annotation_files(config, "train_files")
    if files and all(path.is_file() for path in files):
        return Items(sum(len(read_list(path)) for path in files), "counted in data.train_files")
    return _of_the_paper([Path(name).name for name in split_list(config.data.train_files)])


def _of_the_paper(names: list[str]) -> Items | None:
    if not names or not set(names) <= PAPER.keys():
        return None
    thousands = sum(PAPER[name] for name in names)
    return Items(
        1000 * thousands,
        "the paper's table of pre-training data, an item for each text; a list with all texts of "
        "an image in one item has fewer",
    )


def steps(config: ConfigDict, epoch: Items | None) -> int | None:
    """Steps of the whole run; None if they depend on an unknown number of items."""
    train = config.train
    if train.steps is not None or epoch is None:
        return train.steps
    return train.epochs * steps_per_epoch(epoch.count, train.batch_size)
