"""A batch in parts, one after the other: less memory, the same gradient.

In pre-training pairs meet only inside their contrast group (keys of the queue are of earlier
batches), so parts of whole groups are independent, and the mean over parts is exact.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def split(tree: Any, parts: int, blocks: int) -> Any:
    """Cut the leading axes into `parts`, each with rows of every block.

    Args:
        blocks: of rows, on different devices: so all devices work on a part, and no row moves.
    """

    def cut(x: jax.Array) -> jax.Array:
        x = x.reshape(blocks, parts, -1, *x.shape[1:])
        return jnp.swapaxes(x, 0, 1).reshape(parts, -1, *x.shape[3:])

    return jax.tree.map(cut, tree)


def merge(tree: Any, blocks: int) -> Any:
    """The inverse of `split`."""

    def join(x: jax.Array) -> jax.Array:
        rows = x.shape[0] * x.shape[1]
        x = x.reshape(len(x), blocks, -1, *x.shape[2:])
        return jnp.swapaxes(x, 0, 1).reshape(rows, *x.shape[3:])

    return jax.tree.map(join, tree)


def accumulate(
    gradient: Callable[[Any, jax.Array], tuple[Any, Any]], zeros: Any, parts: Any, count: int
) -> tuple[Any, Any]:
    """The mean gradient over parts, and the stacked further outputs.

    Args:
        gradient: `(part, number) -> (gradients, outputs)`.
        zeros: what gradients look like.
        parts: of `split`.
    """

    def add(total: Any, numbered: tuple[Any, jax.Array]) -> tuple[Any, Any]:
        grads, outputs = gradient(*numbered)
        return jax.tree.map(jnp.add, total, grads), outputs

    total, outputs = jax.lax.scan(add, zeros, (parts, jnp.arange(count)))
    return jax.tree.map(lambda x: x / count, total), outputs
