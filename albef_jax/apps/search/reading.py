"""Reads items in blocks, ahead of whoever encodes them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from albef_jax.apps.search.item import Item, Items
from albef_jax.data.annotations.checks import read_image, usable_captions
from albef_jax.data.images.decode import decode, resize_for_eval
from albef_jax.data.shards.tar_paths import in_shard, read_place
from albef_jax.data.shards.tar_shards import stored_captions, stored_image
from albef_jax.errors import BadSample
from albef_jax.storage.paths import AnyPath, under

# An image uint8 [S, S, 3], a caption, or why the item cannot be used.
Content = np.ndarray | str | BadSample


def read_ahead(
    items: Items, some: Sequence[Item], block: int, side: int, threads: int
) -> Iterator[tuple[Sequence[Item], list[Content]]]:
    """Blocks of items with their contents; one is read while the previous one is encoded.

    Args:
        items: what the items belong to.
        some: those to read, in this order.
        block: items of a block.
        side: S, of the square that images are squeezed to.
    """
    blocks = [some[start : start + block] for start in range(0, len(some), block)]
    with ThreadPoolExecutor(threads) as pool:

        def begin(part: Sequence[Item]) -> list[Future[Content]]:
            return [pool.submit(_read, items, side, item) for item in part]

        ahead = [begin(part) for part in blocks[:1]]
        for number, part in enumerate(blocks):
            ahead += [begin(one) for one in blocks[number + 1 :][:1]]
            yield part, [future.result() for future in ahead.pop(0)]


def _read(items: Items, side: int, item: Item) -> Content:
    try:
        if items.kind == "text":
            return caption_of(items, item)
        return resize_for_eval(image_at(under(items.root, item.name), item), side)
    except BadSample as problem:
        return problem


def image_at(path: AnyPath, item: Item | None = None) -> np.ndarray:
    """The image of a file or of a sample in a tar shard, upright, uint8 `[H, W, 3]`.

    Args:
        item: what the shard must not have changed since.

    Raises:
        BadSample: it is missing or cannot be used.
    """
    place = in_shard(path)
    if place is None:
        return read_image(path, upright=True)
    stamp = None if item is None else (item.size, item.changed)
    files = read_place(place, stamp)
    return decode(stored_image(str(path), files), str(path), upright=True)


def caption_of(items: Items, item: Item) -> str:
    """The caption of an item: its name or, in a tar shard, the first that the sample has.

    Raises:
        BadSample: it is missing or cannot be used.
    """
    if not items.root:
        return item.name
    path = under(items.root, item.name)
    if (place := in_shard(path)) is None:
        raise BadSample(str(path), "cannot be read: the shard is no longer there")
    files = read_place(place, (item.size, item.changed))
    given = stored_captions(str(path), files, items.caption_field)
    return usable_captions(str(path), given)[0]
