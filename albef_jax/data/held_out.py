"""Reports overlaps of evaluation and training data: shared files and images."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from albef_jax.storage.paths import AnyPath


@runtime_checkable
class NamedImages(Protocol):
    """A source that knows the paths of its images."""

    def image_paths(self) -> Iterator[str]:
        """The path of each record's image or images."""
        ...


def describe(train: Iterable[AnyPath], held_out: Sequence[AnyPath]) -> str:
    """The evaluation data in words.

    Args:
        train: the files of training.
        held_out: those of `data.eval_files`.
    """
    trained_on = {path.resolve() for path in train}
    shared = [path for path in held_out if path.resolve() in trained_on]
    if not shared:
        return "held-out items of data.eval_files"
    if len(shared) == len(held_out):
        return "TRAINING items (the files of data.eval_files are training files)"
    names = ", ".join(path.name for path in shared)
    return f"items of data.eval_files, of which {names} holds TRAINING items"


def with_shared_images(what: str, train: Any, held_out: Any) -> str:
    """The description, and the number of evaluation images that training reads, too.

    Args:
        what: from `describe`.
        train, held_out: the sources. Without known image paths, no overlap can be found.
    """
    known = isinstance(train, NamedImages) and isinstance(held_out, NamedImages)
    if not known or "TRAINING" in what:
        return what
    unseen = set(held_out.image_paths())
    count = len(unseen)
    for path in train.image_paths():
        unseen.discard(path)
    seen = count - len(unseen)
    if not seen:
        return what
    return f"{what.removeprefix('held-out ')}, where {seen} of {count} images are TRAINING images"
