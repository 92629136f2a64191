"""The two feature queues that give ITC its many negatives (paper section 3.2).

Kept whole on every device: 64 MiB each at the official size, and only the batch's new features
travel. Entries are in order of arrival, the oldest is overwritten first.
Shape letters: Q queue length, B batch, E embed_dim.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# No image has this id; it marks empty entries (LEDGER, Retrieval).
EMPTY = -100


class Queue(NamedTuple):
    """Teacher features of past batches and the place of the next one.

    Attributes:
        image_id: the image of each entry; for retrieval only.
    """

    image: Float[Array, "Q E"]
    text: Float[Array, "Q E"]
    pointer: Int[Array, ""]
    image_id: Int[Array, " Q"] | None = None

    def arrays(self) -> dict[str, Any]:
        """The parts that are there, by name, as checkpoints keep them."""
        return {name: leaf for name, leaf in self._asdict().items() if leaf is not None}


def init_queue(key: Array, length: int, embed_dim: int, with_ids: bool = False) -> Queue:
    """Random unit vectors, as in the official code."""

    def unit(key: Array) -> Array:
        x = jax.random.normal(key, (length, embed_dim))
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    image_key, text_key = jax.random.split(key)
    ids = jnp.full((length,), EMPTY, jnp.int32) if with_ids else None
    return Queue(unit(image_key), unit(text_key), jnp.int32(0), ids)


def enqueue(
    queue: Queue,
    image_feat: Float[Array, "B E"],
    text_feat: Float[Array, "B E"],
    image_id: Int[Array, " B"] | None = None,
) -> Queue:
    """Overwrite the oldest B entries; Q must be a multiple of B."""
    length, batch = len(queue.image), len(image_feat)

    def write(entries: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(entries, new, queue.pointer, axis=0)

    pointer = (queue.pointer + batch) % length
    ids = None
    if queue.image_id is not None and image_id is not None:
        ids = write(queue.image_id, image_id)
    return Queue(write(queue.image, image_feat), write(queue.text, text_feat), pointer, ids)
