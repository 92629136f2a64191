from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.losses.queue import EMPTY, Queue, enqueue, init_queue

push = jax.jit(enqueue)


def features(number, batch=2):
    """Batch `number`: images number.0, number.1, ...; texts the same, negative."""
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


def test_image_ids_are_written_beside_their_features():
    queue = init_queue(jax.random.key(0), 6, 3, with_ids=True)
    assert queue.image_id.tolist() == [EMPTY] * 6
    for number in (1, 2):
        queue = push(queue, *features(number), jnp.array([10 * number, 10 * number + 1], jnp.int32))
    assert queue.image_id.tolist() == [10, 11, 20, 21, EMPTY, EMPTY]
    np.testing.assert_allclose(queue.image[:4, 0], [1, 1.1, 2, 2.1])
    for number in (3, 4):
        queue = push(queue, *features(number), jnp.array([10 * number, 10 * number + 1], jnp.int32))
    assert queue.image_id.tolist() == [40, 41, 20, 21, 30, 31]
    assert queue.image_id.dtype == jnp.int32
    assert int(queue.pointer) == 2


def test_empty_entries_have_an_id_of_no_image():
    assert EMPTY == -100


def test_a_queue_without_ids_stays_without():
    queue = init_queue(jax.random.key(0), 4, 3)
    assert queue.image_id is None
    assert push(queue, *features(1)).image_id is None


def test_ids_change_nothing_of_how_it_starts():
    plain, marked = (init_queue(jax.random.key(0), 4, 3, with_ids) for with_ids in (False, True))
    for one, other in zip(plain[:3], marked[:3], strict=True):
        np.testing.assert_array_equal(one, other)
