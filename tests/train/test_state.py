from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.queue import Queue, init_queue
from albef_jax.models import albef
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import TrainState, state_from_params


def test_a_fresh_state(fresh_state):
    assert int(fresh_state.step) == 0
    assert fresh_state.queue.image.shape == fresh_state.queue.text.shape == (24, 8)
    teacher = {name: fresh_state.params[name] for name in fresh_state.teacher}
    jax.tree.map(np.testing.assert_array_equal, fresh_state.teacher, teacher)
    assert fresh_state.params.keys() - teacher.keys() == {"itm_head", "temperature"}
    moments = fresh_state.opt_state[0]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((moments.mu, moments.nu)))


def test_parts_join_to_the_state(fresh_state):
    items = fresh_state.items()
    assert items.keys() == {"params", "teacher", "train"}
    again = TrainState.from_items(items)
    assert jax.tree.structure(again) == jax.tree.structure(fresh_state)
    leaves = zip(jax.tree.leaves(again), jax.tree.leaves(fresh_state), strict=True)
    assert all(ours is theirs for ours, theirs in leaves)


def queue_of(kind):
    if kind == "no queue":
        return None
    return init_queue(jax.random.key(0), 8, 8, with_ids=kind == "with image ids")


@pytest.mark.parametrize("kind", ["no queue", "plain queue", "with image ids"])
@pytest.mark.parametrize("distilled", [True, False], ids=["teacher", "no teacher"])
def test_parts_of_every_task_join_to_its_state(tiny, kind, distilled):
    optimizer = adamw(lambda step: jnp.float32(0.1), 0.0)
    params = {name: tiny.params[name] for name in ("text_proj", "itm_head", "temperature")}
    teacher = None if distilled else {}
    key = jax.random.key(1)
    state = state_from_params(params, optimizer, queue_of(kind), key, teacher)
    items = state.items()
    assert ("teacher" in items) == distilled
    assert ("queue" in items["train"]) == (kind != "no queue")
    if kind != "no queue":
        # Plain dicts: a checkpoint is read without this package's types.
        assert ("image_id" in items["train"]["queue"]) == (kind == "with image ids")
        assert all(leaf is not None for leaf in items["train"]["queue"].values())
    again = TrainState.from_items(items)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    leaves = zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True)
    assert all(ours is theirs for ours, theirs in leaves)
    assert isinstance(again.queue, Queue) == (kind != "no queue")


def test_joining_leaves_the_parts_as_they_are(fresh_state):
    items = fresh_state.items()
    TrainState.from_items(items)
    assert items["train"].keys() == {"opt_state", "key", "step", "queue"}
    assert items["train"]["queue"].keys() == {"image", "text", "pointer"}


def test_replace_leaves_the_rest(fresh_state):
    later = fresh_state.replace(step=jnp.int32(7))
    assert (int(later.step), int(fresh_state.step)) == (7, 0)
    assert later.params is fresh_state.params


def test_a_teacher_of_its_own(tiny):
    queue = init_queue(jax.random.key(0), 8, 8)
    teacher = jax.tree.map(lambda leaf: leaf + 1, albef.teacher_params(tiny.params))
    build = partial(
        state_from_params, tiny.params, adamw(lambda step: jnp.float32(0.1), 0.0), queue
    )
    assert build(jax.random.key(1), teacher).teacher is teacher
    copied = build(jax.random.key(1)).teacher
    jax.tree.map(lambda new, plus: np.testing.assert_allclose(new + 1, plus), copied, teacher)
