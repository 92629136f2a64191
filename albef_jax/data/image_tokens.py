"""Image tokens of a frozen encoder on disk, and training examples that have them for an image.

`IMAGE_TOKENS` in a run's directory is a numpy array `[n * V, N, D]`, float32: V views of each
image, one after the other. Beside it lies what it was made of. It is written under another name and
moved when it is whole.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.data.examples import Example, PairExamples
from albef_jax.data.records import EncodedPairs
from albef_jax.errors import BadSample, ConfigError
from albef_jax.system import atomic

IMAGE_TOKENS = "image_tokens.npy"
_MADE_OF = "image_tokens.json"


def kept_tokens(workdir: Path, made_of: dict[str, Any]) -> tuple[Path, np.ndarray] | None:
    """The file of an earlier run, and which of its rows are valid; None if there is none.

    Args:
        made_of: what the tokens must have been made of.
    """
    file = workdir / _MADE_OF
    if not (file.is_file() and (workdir / IMAGE_TOKENS).is_file()):
        return None
    kept = json.loads(file.read_bytes())
    bad = kept.pop("bad")
    if kept != made_of:
        return None
    return workdir / IMAGE_TOKENS, _without(bad, len(_opened(workdir / IMAGE_TOKENS)))


def keep_tokens(
    workdir: Path,
    made_of: dict[str, Any],
    shape: tuple[int, int, int],
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[Path, np.ndarray]:
    """Write tokens as they come; the result is that of `kept_tokens`.

    Args:
        shape: (n * V, N, D).
        batches: numbers of rows `[b]`, and their tokens; rows that never come are bad.

    Raises:
        ConfigError: the disk has no room for them.
    """
    size, free = 4 * int(np.prod(shape)), shutil.disk_usage(workdir).free
    if size > free:
        raise ConfigError(
            f"train.cached_views: {workdir / IMAGE_TOKENS} takes {size / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; choose another --workdir, or fewer views"
        )
    draft = workdir / f".{IMAGE_TOKENS}.new"
    (workdir / _MADE_OF).unlink(missing_ok=True)
    tokens = np.lib.format.open_memmap(draft, "w+", np.float32, shape)
    missing = set(range(shape[0]))
    for numbers, found in batches:
        tokens[numbers] = found
        missing -= set(numbers.tolist())
    tokens.flush()
    del tokens
    draft.replace(workdir / IMAGE_TOKENS)
    _opened.cache_clear()
    text = json.dumps({**made_of, "bad": sorted(missing)}, indent=1)
    atomic.write_text(workdir / _MADE_OF, text + "\n")
    return workdir / IMAGE_TOKENS, _without(sorted(missing), shape[0])


@cache
def _opened(file: Path) -> np.ndarray:
    """The array, mapped once in a process."""
    return np.load(file, mmap_mode="r")


def _without(bad: list[int], count: int) -> np.ndarray:
    valid = np.ones(count, bool)
    valid[bad] = False
    return valid


@dataclass(frozen=True)
class TokenExamples:
    """The examples of pairs with `image_tokens` float32 `[N, D]` in place of `image`.

    Images are not even decoded where the source can leave that out.

    Attributes:
        examples: of the pairs.
        file: with the tokens `[n * V, N, D]`.
        valid: bool `[n * V]`; other rows have no tokens.
        views: V, of which one is drawn.
    """

    examples: PairExamples
    file: Path
    valid: np.ndarray
    views: int

    def __call__(self, index: int, rng: np.random.Generator) -> Example:
        """The example of a record; raises `BadSample` for one whose image is unusable."""
        source = self.examples.source
        record = source.encoded(index) if isinstance(source, EncodedPairs) else source[index]
        caption = self.examples.caption(record, rng)
        row = index * self.views + int(rng.integers(self.views))
        if not self.valid[row]:
            raise BadSample(record.name, "its image could not be used when tokens were made")
        return {**caption, "image_tokens": _opened(self.file)[row]}
