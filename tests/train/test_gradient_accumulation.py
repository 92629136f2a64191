"""How a batch is cut into parts; steps in parts are in `test_microbatches_of_every_task`."""

import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.train.gradient_accumulation import merge, split


@pytest.mark.parametrize("parts, blocks", [(2, 1), (2, 4), (4, 2), (1, 8)])
def test_parts_have_rows_of_every_block(parts, blocks):
    rows = jnp.arange(16)
    cut = split({"x": rows, "y": jnp.stack([rows, -rows], axis=1)}, parts, blocks)
    assert cut["x"].shape == (parts, 16 // parts)
    for part in np.asarray(cut["x"]):
        assert np.bincount(part * blocks // 16).tolist() == [16 // parts // blocks] * blocks
    whole = merge(cut, blocks)
    np.testing.assert_array_equal(whole["x"], rows)
    np.testing.assert_array_equal(whole["y"][:, 1], -rows)
