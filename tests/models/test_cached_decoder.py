"""The decoder token by token against the decoder of whole answers."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models.cached_decoder import decode_next, nothing_yet
from albef_jax.models.decoder import decode, init_decoder, question_keys_values
from tests.helpers.tiny_model import drawn_like

B, R, T, VOCAB = 3, 2, 5, 11
RNG = np.random.default_rng(0)
STATES = RNG.standard_normal((B, 6, 24), np.float32)
QUESTION_MASK = (np.arange(6) < 3 + np.arange(B)[:, None]).astype(np.int32)
IDS = RNG.integers(0, VOCAB, (B, R, T), np.int32)


@pytest.fixture(scope="module", params=[{}, {"unroll": 12}, {"attention": "cudnn"}], ids=str)
def config(tiny, request):
    return replace(tiny.config, vocab_size=VOCAB, **request.param)


@pytest.fixture(scope="module")
def params(config):
    tree = jax.device_get(drawn_like(partial(init_decoder, config), 0))
    rng = np.random.default_rng(1)
    blurred = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * rng.standard_normal(leaf.shape, np.float32)), tree
    )
    return {"answer_decoder": blurred}


@pytest.fixture(scope="module")
def whole(config, params):
    return jax.jit(partial(decode, config))(params, IDS, np.ones_like(IDS), STATES, QUESTION_MASK)


@pytest.fixture(scope="module")
def stepwise(config, params):
    """Logits at each position of given answers, and the past after them."""
    step = jax.jit(partial(decode_next, config))
    question = jax.jit(partial(question_keys_values, config))(params, STATES)

    def stepwise(ids, past=None, first=0):
        past = nothing_yet(config, B, R, T) if past is None else past
        found = []
        for position in range(first, ids.shape[2]):
            token = jnp.asarray(ids[:, :, position])
            logits, past = step(params, token, position, past, question, QUESTION_MASK)
            found.append(logits)
        return jnp.stack(found, axis=2), past

    return stepwise


def test_every_position_has_the_logits_of_the_whole_answer(stepwise, whole):
    np.testing.assert_allclose(stepwise(IDS)[0], whole, rtol=2e-5, atol=2e-5)


def test_rows_may_change_their_ancestor(config, params, stepwise):
    """As in a beam search: both rows go on from what was row 1, or row 0."""
    rows = jnp.array([[1, 1], [0, 0], [1, 0]])
    _, past = stepwise(IDS[:, :, :3])
    found, _ = stepwise(IDS, past.of_rows(rows), first=3)
    chosen = np.take_along_axis(IDS, np.asarray(rows)[..., None], axis=1)
    mixed = np.concatenate([chosen[:, :, :3], IDS[:, :, 3:]], axis=2)
    expected = jax.jit(partial(decode, config))(
        params, mixed, np.ones_like(mixed), STATES, QUESTION_MASK
    )
    np.testing.assert_allclose(found, expected[:, :, 3:], rtol=2e-5, atol=2e-5)
