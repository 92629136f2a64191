"""Pairs in WebDataset tar shards, as img2dataset writes them, with random access.

Shuffling and resuming are exact, as for any other source.
"""

from collections.abc import Sequence

from albef_jax.data.annotations.checks import usable_captions
from albef_jax.data.images.decode import decode
from albef_jax.data.records import EncodedPair, Pair
from albef_jax.data.shards.tar_shards import TarShards, stored_captions, stored_image
from albef_jax.storage.paths import AnyPath


class TarPairs(TarShards):
    """Random access to the pairs of tar shards, sorted by name. Safe to share between threads.

    Each sample has its own `image_id`. A sample without image or caption, or with an unusable
    one, is a `BadSample`, as is any sample of a shard that changes or vanishes during a run.

    Args:
        files: paths of `.tar` files.
        caption_field: the field of a sample's .json with the caption, a text or a list of texts;
            empty for the caption in its .txt.
        setting: where the files are named in the configuration, for messages.

    Attributes:
        notes: remarks on the shards for the user, a line each.

    Raises:
        ValueError: unusable shards, all named in one message; or no captions where they should be.
    """

    upright = False  # whether the EXIF orientation is applied

    def __init__(
        self,
        files: Sequence[str | AnyPath],
        caption_field: str = "",
        setting: str = "data.train_files",
    ):
        super().__init__(files, setting)
        self._field = caption_field
        self.check_captions(caption_field, "data.caption_field")

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`, named `path of the shard/key`; raises `BadSample`."""
        found = self.encoded(index)
        image = decode(found.data, found.name, self.upright)
        return Pair(found.name, image, found.captions, found.image_id)

    def encoded(self, index: int) -> EncodedPair:
        """The pair at `index`, not decoded; raises `BadSample` if a part is missing."""
        index = range(len(self))[index]
        name, files = self.read(index)
        texts = stored_captions(name, files, self._field)
        image = stored_image(name, files)
        return EncodedPair(name, image, usable_captions(name, texts), index)
