"""The built-in world as a TensorFlow Datasets builder, to be prepared without TensorFlow.

Not imported by the package itself, since importing TensorFlow Datasets takes seconds.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from albef_jax.data.scenes.source import ScenesSource

SPLITS = ("train", "val")


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Images, their captions, and the objects in them.

    Args:
        data_dir: where data sets are kept; this one gets a directory `scenes/1.0.0` in it.
        train: number of images of split 'train'.
        val: number of images of split 'val'.
        image_size: side of the images in pixels.
        world: forwarded to `ScenesSource`: seed, most_objects, captions_per_image.
    """

    VERSION = tfds.core.Version("1.0.0")
    # The path for checksums of downloads. Nothing is downloaded, and the default look-up in a
    # package needs a library that TensorFlow Datasets does not install.
    code_path = None

    def __init__(
        self,
        data_dir: str | Path,
        train: int = 100_000,
        val: int = 1000,
        image_size: int = 256,
        **world: Any,
    ):
        self._sources = {
            split: ScenesSource(split, size, image_size, **world)
            for split, size in zip(SPLITS, (train, val), strict=True)
        }
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        """What a record holds; boxes are shares of the image."""
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn scenes of one to six objects, with captions that are true of them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "image_id": tfds.features.Scalar(np.int64),
                    "objects": tfds.features.Sequence(
                        {
                            "box": tfds.features.BBoxFeature(),
                            "shape": tfds.features.Text(),
                            "colour": tfds.features.Text(),
                            "size": tfds.features.Text(),
                            "texture": tfds.features.Text(),
                        }
                    ),
                }
            ),
        )

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator]:
        """Nothing is downloaded."""
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        source = self._sources[split]
        for index in range(len(source)):
            pair = source[index]
            file = io.BytesIO()
            Image.fromarray(pair.image).save(file, "PNG")
            yield (
                index,
                {
                    "image": file.getvalue(),
                    "captions": pair.captions,
                    "image_id": pair.image_id,
                    "objects": [_told(thing) for thing in source.scene(index).objects],
                },
            )


def _told(thing: Any) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(np.clip(side, 0, 1)) for side in thing.box)
    return {
        "box": tfds.features.BBox(ymin=y0, xmin=x0, ymax=y1, xmax=x1),
        **{name: getattr(thing, name) for name in ("shape", "colour", "size", "texture")},
    }
