"""Shared by all sources of the built-in world: split, number of items, image size."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from albef_jax.data.scenes.world.draw import SPLITS, stream
from albef_jax.data.scenes.world.graph import Scene
from albef_jax.data.scenes.world.sample import COUNT_WEIGHTS, sample_scene

_FAR = 2**40  # from an item's scene to the next one that it may use: beyond any size


@dataclass(frozen=True)
class SceneSplit:
    """The first `size` items of a split.

    Attributes:
        split: 'train', 'val' or 'test'; only the last two show `HELD_OUT` combinations.
        size: items in an epoch; any number, each prefix of a longer one.
        image_size: side of the images in pixels.
        seed: which of the worlds.
        most_objects: in a scene, 1 to 6; a world of few is learnt sooner.

    Raises:
        ValueError: for a value out of its range; the message names it.
    """

    split: str
    size: int
    image_size: int
    seed: int = 0
    most_objects: int = len(COUNT_WEIGHTS)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"scenes: split {self.split!r} is none of {', '.join(SPLITS)}")
        for name, least in (("size", 1), ("image_size", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"scenes: {name} {getattr(self, name)} must be {least} or more")
        if not 1 <= self.most_objects <= len(COUNT_WEIGHTS):
            raise ValueError(
                f"scenes: objects {self.most_objects} must be 1 to {len(COUNT_WEIGHTS)}"
            )
        if self.seed < 0:
            raise ValueError(f"scenes: seed {self.seed} must be 0 or more")

    def __len__(self) -> int:
        return self.size

    @property
    def train(self) -> bool:
        """Whether `HELD_OUT` combinations must not be shown."""
        return self.split == "train"

    def scenes(self, index: int) -> Iterator[Scene]:
        """The scene with this index, then without end others that belong to this item alone.

        Raises:
            IndexError: outside 0 to `size` - 1.
        """
        numbers = count(self._checked(index), _FAR)
        return (
            sample_scene(self.seed, self.split, number, self.most_objects) for number in numbers
        )

    def random(self, index: int, purpose: int) -> np.random.Generator:
        """The random numbers of an item for one purpose (see `draw.stream`)."""
        return stream(self.seed, self.split, self._checked(index), purpose)

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(f"scenes/{self.split}: no index {index} among {self.size} scenes")
        return int(index)
