"""The built-in world as a data source: images and captions made on demand."""

from dataclasses import dataclass

from albef_jax.data.records import Pair
from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.language.captions import captions
from albef_jax.data.scenes.language.noise import corrupt
from albef_jax.data.scenes.world.draw import CAPTION
from albef_jax.data.scenes.world.graph import Scene
from albef_jax.data.scenes.world.split import SceneSplit


@dataclass(frozen=True)
class ScenesSource(SceneSplit):
    """Random access to the first `size` pairs of a split; a `PairSource`.

    Attributes:
        noise: share of web-like captions; must be 0 outside 'train'.
        captions_per_image: captions an image.

    Raises:
        ValueError: for a value out of its range; the message names it.
    """

    noise: float = 0.0
    captions_per_image: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions_per_image < 1:
            raise ValueError(
                f"scenes: captions_per_image {self.captions_per_image} must be 1 or more"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"scenes: noise {self.noise} must be a share between 0 and 1")
        if self.noise and self.split != "train":
            raise ValueError(f"scenes: noise is for split 'train'; set it to 0 for {self.split!r}")

    def scene(self, index: int) -> Scene:
        """What image `index` shows.

        Raises:
            IndexError: outside 0 to `size` - 1.
        """
        return next(self.scenes(index))

    def __getitem__(self, index: int) -> Pair:
        """The pair `scenes/<split>/<index>`.

        Raises:
            IndexError: outside 0 to `size` - 1.
        """
        scene = self.scene(index)
        image = render(scene, self.image_size)
        texts = self._texts(scene, index)
        return Pair(f"scenes/{self.split}/{index}", image, texts, int(index))

    def texts(self, index: int) -> tuple[str, ...]:
        """The captions of image `index`, which is not drawn."""
        return self._texts(self.scene(index), index)

    def _texts(self, scene: Scene, index: int) -> tuple[str, ...]:
        rng = self.random(index, CAPTION)
        texts = captions(scene, rng, self.captions_per_image)
        return corrupt(texts, scene, rng, self.noise)
