"""Answers side by side on eight devices: no row leaves the device that has its question."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.vqa import VqaLoss
from albef_jax.train.step import compile_step
from benchmarks.answer_training import batch_of, start_of, step_of
from benchmarks.collectives import collectives

QUESTIONS, ROWS = 2, 5  # of a device; their answers may be eight


def program_of(tiny, group, rows):
    """What XLA makes of the step for two questions a device."""
    model = replace(tiny.config, vocab_size=2000)
    # Whichever optimizer: it looks at each parameter by itself.
    config = replace(step_of(VqaLoss(model, rows, group)), optimizer=optax.sgd(1e-3))
    mesh = make_mesh()
    abstract = jax.eval_shape(partial(start_of, model, config.optimizer))
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        state_shardings(mesh, abstract),
    )
    batch = to_devices(mesh, batch_of(model, np.full(8 * QUESTIONS, 3), 4, (6, 5)))
    return compile_step(config, mesh, abstract).lower(placed, batch).compile().as_text()


def kinds(text):
    return {one.kind for one in collectives(text)}


def test_only_sums_leave_a_device(tiny):
    assert kinds(program_of(tiny, QUESTIONS, ROWS)) == {"all-reduce"}


@pytest.mark.slow
def test_groups_over_devices_would_move_rows(tiny):
    """So that the test above can fail."""
    assert kinds(program_of(tiny, 8 * QUESTIONS, 8 * ROWS)) > {"all-reduce"}
