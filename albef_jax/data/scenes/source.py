"""The built-in world as a data source: pictures and captions made on demand."""

from dataclasses import dataclass

from albef_jax.data.records import Pair
from albef_jax.data.scenes.captions import captions
from albef_jax.data.scenes.draw import CAPTION, SPLITS, stream
from albef_jax.data.scenes.graph import Scene
from albef_jax.data.scenes.noise import corrupt
from albef_jax.data.scenes.render import render
from albef_jax.data.scenes.sample import sample_scene


@dataclass(frozen=True)
class ScenesSource:
    """Random access to the first `size` pairs of a split; a `PairSource`.

    Attributes:
        split: 'train', 'val' or 'test'; only the last two show `HELD_OUT` combinations.
        size: scenes in an epoch; any number, each prefix of a longer one.
        image_size: side of the pictures in pixels.
        seed: which of the worlds.
        noise: share of web-like captions; must be 0 outside 'train'.
        captions_per_image: captions a picture.

    Raises:
        ValueError: for a value out of its range; the message names it.
    """

    split: str
    size: int
    image_size: int
    seed: int = 0
    noise: float = 0.0
    captions_per_image: int = 5

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"scenes: split {self.split!r} is none of {', '.join(SPLITS)}")
        for name, least in (("size", 1), ("image_size", 16), ("captions_per_image", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"scenes: {name} {getattr(self, name)} must be {least} or more")
        if self.seed < 0:
            raise ValueError(f"scenes: seed {self.seed} must be 0 or more")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"scenes: noise {self.noise} must be a share between 0 and 1")
        if self.noise and self.split != "train":
            raise ValueError(f"scenes: noise is for split 'train'; set it to 0 for {self.split!r}")

    def __len__(self) -> int:
        return self.size

    def scene(self, index: int) -> Scene:
        """What picture `index` shows.

        Raises:
            IndexError: outside 0 to `size` - 1.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"scenes/{self.split}: no index {index} among {self.size} scenes")
        return sample_scene(self.seed, self.split, int(index))

    def __getitem__(self, index: int) -> Pair:
        """The pair `scenes/<split>/<index>`.

        Raises:
            IndexError: outside 0 to `size` - 1.
        """
        scene = self.scene(index)
        rng = stream(self.seed, self.split, int(index), CAPTION)
        texts = captions(scene, rng, self.captions_per_image)
        texts = corrupt(texts, scene, rng, self.noise)
        picture = render(scene, self.image_size)
        return Pair(f"scenes/{self.split}/{index}", picture, texts, int(index))
