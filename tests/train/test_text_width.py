"""How far texts are padded changes no masked word; what it does to steps is in
`test_microbatches_of_every_task`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.every_task import LENGTH, LOSSES, batch_of, padded

WIDE = LENGTH + 5


def masking(tiny, batch, text_len):
    loss = replace(LOSSES["pretrain"](tiny.config), text_len=text_len)
    keys = {name: jax.random.key(number) for number, name in enumerate(loss.streams)}
    arrays = jax.tree.map(jnp.asarray, batch)
    return jax.device_get(loss.decide(keys, arrays).masked)


def test_masked_words_do_not_depend_on_the_padding(tiny):
    batch = batch_of("pretrain")
    wide, narrow = (masking(tiny, one, WIDE) for one in (padded(batch, WIDE), batch))
    np.testing.assert_array_equal(narrow.selected, wide.selected[:, :LENGTH])
    np.testing.assert_array_equal(narrow.text_ids, wide.text_ids[:, :LENGTH])
    assert narrow.selected.any() and not wide.selected[:, LENGTH:].any()


def test_without_buckets_they_are_those_of_before(tiny):
    """Drawn for the batch's own width, they are the same draws as without a width."""
    batch = batch_of("pretrain")
    plain, given, other = (masking(tiny, batch, width) for width in (None, LENGTH, WIDE))
    np.testing.assert_array_equal(given.text_ids, plain.text_ids)
    assert (other.text_ids != plain.text_ids).any()
