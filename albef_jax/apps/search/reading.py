"""Reads items in blocks, ahead of whoever encodes them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from albef_jax.apps.search.items import Item, Items
from albef_jax.data.annotations.checks import read_image
from albef_jax.data.images.decode import resize_for_eval
from albef_jax.errors import BadSample

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
    if items.kind == "text":
        return item.name
    try:
        image = read_image(Path(items.root) / item.name, upright=True)
    except BadSample as problem:
        return problem
    return resize_for_eval(image, side)
