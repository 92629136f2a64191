from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.train.queue import Queue, enqueue, init_queue

push = jax.jit(enqueue)


def features(number, batch=2):
    """Batch `number`: pictures number.0, number.1, ...; texts the same, negative."""
    image = number + np.arange(batch)[:, None] / 10 + np.zeros((batch, 3))
    return jnp.asarray(image, jnp.float32), jnp.asarray(-image, jnp.float32)


def empty(length):
    return Queue(jnp.zeros((length, 3)), jnp.zeros((length, 3)), jnp.int32(0))


def test_entries_are_in_order_of_arrival():
    queue = empty(6)
    for number in (1, 2):
        queue = push(queue, *features(number))
    np.testing.assert_allclose(queue.image[:, 0], [1, 1.1, 2, 2.1, 0, 0])
    np.testing.assert_allclose(queue.text[:, 2], [-1, -1.1, -2, -2.1, 0, 0])
    assert int(queue.pointer) == 4


def test_the_oldest_is_overwritten_first():
    queue = empty(6)
    for number in range(1, 6):
        queue = push(queue, *features(number))
    np.testing.assert_allclose(queue.image[:, 1], [4, 4.1, 5, 5.1, 3, 3.1])
    np.testing.assert_allclose(queue.text, -queue.image)
    assert int(queue.pointer) == 4
    assert queue.pointer.dtype == jnp.int32


def test_a_batch_as_long_as_the_queue():
    queue = push(empty(2), *features(1))
    queue = push(queue, *features(2))
    np.testing.assert_allclose(queue.image[:, 0], [2, 2.1])
    assert int(queue.pointer) == 0


def test_it_starts_as_random_unit_vectors():
    queue = jax.jit(partial(init_queue, length=500, embed_dim=8))(jax.random.key(0))
    for entries in (queue.image, queue.text):
        assert entries.shape == (500, 8)
        np.testing.assert_allclose(np.linalg.norm(entries, axis=1), 1, rtol=1e-6)
        # No direction is preferred: each coordinate has variance 1/8.
        np.testing.assert_allclose(np.mean(entries, axis=0), 0, atol=5 * (8 * 500) ** -0.5)
        np.testing.assert_allclose(np.var(entries, axis=0), 1 / 8, rtol=0.3)
    assert np.abs(np.mean(np.sum(queue.image * queue.text, axis=1))) < 5 * (8 * 500) ** -0.5
    assert int(queue.pointer) == 0
