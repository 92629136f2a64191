"""The answer decoder: what each logit depends on, and what it does not."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.decoder import decode, init_decoder

RNG = np.random.default_rng(0)
STATES = RNG.standard_normal((3, 6, 24), np.float32)  # [B, S, D]
QUESTION_MASK = (np.arange(6) < np.array([[6], [4], [2]])).astype(np.int32)
IDS = RNG.integers(1, 100, (3, 4, 5), np.int32)  # [B, R, T]
LENGTHS = RNG.integers(2, 6, (3, 4, 1))
MASK = (np.arange(5) < LENGTHS).astype(np.int32)


@pytest.fixture(scope="module")
def fresh(tiny):
    """Fresh parameters by seed."""
    compiled = jax.jit(partial(init_decoder, tiny.config))
    # This kind of key compiles faster than the default.
    return lambda seed: jax.device_get(compiled(jax.random.key(seed, impl="rbg")))


@pytest.fixture(scope="module")
def params(fresh):
    """Fresh weights with noise, on biases and norms too."""
    noise = np.random.default_rng(1)

    def blur(leaf):
        return jnp.asarray(leaf + 0.05 * noise.standard_normal(leaf.shape, np.float32))

    return {"answer_decoder": jax.tree.map(blur, fresh(0))}


@pytest.fixture(scope="module")
def run(tiny, params):
    """Logits as a function of all inputs; the parameters are fixed."""
    compiled = jax.jit(partial(decode, tiny.config))

    def run(ids=IDS, mask=MASK, states=STATES, question_mask=QUESTION_MASK, params=params):
        return np.asarray(compiled(params, ids, mask, states, question_mask))

    return run


@pytest.fixture(scope="module")
def logits(run):
    return run()


def changed(array, place, new):
    array = array.copy()
    array[place] = new
    return array


def test_it_is_the_fusion_encoder_between_embeddings_and_vocabulary(tiny, params, logits):
    """With a causal mask, and question tokens in place of image tokens."""
    tree = params["answer_decoder"]
    tables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree["embeddings"])
    x = tables["word"]["embedding"][IDS] + tables["position"]["embedding"][:5]
    x = x + tables["type"]["embedding"][0]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = np.float32(x * tables["norm"]["scale"] + tables["norm"]["bias"])
    names = {
        "fusion_encoder": {"layers": tree["layers"]},
        "text_encoder": {"embeddings": tree["embeddings"]},
        "mlm_head": tree["head"],
    }

    @jax.jit
    def official(x):
        x = albef.fuse(
            tiny.config, names, x, MASK, STATES, image_mask=jnp.array(QUESTION_MASK), causal=True
        )
        return albef.mlm_logits(tiny.config, names, x)

    np.testing.assert_allclose(logits, official(x), rtol=1e-4, atol=1e-5)


def test_later_tokens_do_not_change_earlier_logits(run, logits):
    ids = changed(IDS, (..., 3), IDS[..., 3] + 1)
    everywhere = np.ones_like(MASK)
    before, after = run(mask=everywhere), run(ids=ids, mask=everywhere)
    np.testing.assert_array_equal(before[:, :, :3], after[:, :, :3])
    assert np.abs(before - after)[:, :, 3:].max(axis=-1).min() > 1e-3


def test_masked_answer_tokens_are_not_seen(run):
    """Each row by its own mask: token 1 of some rows."""
    hidden = np.arange(4) % 2 == np.arange(3)[:, None] % 2
    mask = np.ones_like(MASK)
    mask[hidden, 1] = 0
    before, after = run(mask=mask), run(ids=changed(IDS, (..., 1), IDS[..., 1] + 1), mask=mask)
    moved = np.abs(before - after)[:, :, 2:].max(axis=(2, 3))
    assert moved[hidden].max() < 1e-5
    assert moved[~hidden].min() > 1e-3


def test_padding_of_the_question_is_not_seen(run, logits):
    rubbish = np.where(QUESTION_MASK[..., None] == 1, STATES, 9.0)
    np.testing.assert_allclose(run(states=rubbish), logits, rtol=1e-5, atol=1e-5)
    seen = run(question_mask=np.ones_like(QUESTION_MASK))
    assert np.abs(seen - logits)[1:].max(axis=(2, 3)).min() > 1e-3
    np.testing.assert_array_equal(seen[0], logits[0])


def test_answers_do_not_see_each_other(run, logits):
    after = run(ids=changed(IDS, (1, 2, 0), IDS[1, 2, 0] + 1))
    moved = np.any(after != logits, axis=(2, 3))
    assert np.argwhere(moved).tolist() == [[1, 2]]


def test_answers_see_their_own_question_alone(run, logits):
    after = run(states=changed(STATES, 1, -STATES[1]))
    moved = np.abs(after - logits).max(axis=(2, 3)) > 1e-3
    assert moved.tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_answers_of_a_question_are_as_if_asked_one_by_one(run, logits):
    """The question repeated for each answer, as in the official code."""
    found = run(
        IDS.reshape(12, 1, 5),
        MASK.reshape(12, 1, 5),
        np.repeat(STATES, 4, axis=0),
        np.repeat(QUESTION_MASK, 4, axis=0),
    )
    np.testing.assert_allclose(found.reshape(logits.shape), logits, rtol=1e-5, atol=1e-5)


def test_words_are_read_and_written_with_one_matrix(run, params, logits):
    """A word that is in no answer: another embedding changes its own logits alone."""
    assert 110 not in IDS
    tree = jax.tree.map(lambda leaf: leaf, params)
    table = tree["answer_decoder"]["embeddings"]["word"]
    table["embedding"] = table["embedding"].at[110].add(1.0)
    moved = np.abs(run(params=tree) - logits).max(axis=(0, 1, 2)) > 0
    assert np.flatnonzero(moved).tolist() == [110]


def test_parameters_read_text_and_not_image_tokens(tiny, params):
    tree = params["answer_decoder"]
    assert tree.keys() == {"embeddings", "layers", "head"}
    cross = tree["layers"]["cross_attention"]
    assert tiny.config.encoder_width != tiny.config.text_width
    assert cross["key"]["kernel"].shape == cross["value"]["kernel"].shape == (2, 24, 24)
    fusion = tiny.params["fusion_encoder"]["layers"]
    assert jax.tree.structure(tree["layers"]) == jax.tree.structure(fusion)
    assert jax.tree.structure(tree["head"]) == jax.tree.structure(tiny.params["mlm_head"])


def test_fresh_parameters_follow_the_key(fresh):
    one, again, other = (jax.tree.leaves(fresh(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(ours, same) for ours, same in zip(one, again, strict=True))
    differ = sum(not np.array_equal(*pair) for pair in zip(one, other, strict=True))
    assert differ == sum(bool(np.std(leaf) > 0) for leaf in one) == 14
    assert {leaf.dtype for leaf in one} == {jnp.dtype("float32")}


def test_dropout_follows_its_key(tiny, params, logits):
    config = replace(tiny.config, dropout=0.2, attention_dropout=0.2)
    drop = jax.jit(partial(decode, config))

    def run(seed):
        key = None if seed is None else jax.random.key(seed, impl="rbg")
        return np.asarray(drop(params, IDS, MASK, STATES, QUESTION_MASK, key))

    one = run(1)
    np.testing.assert_array_equal(one, run(1))
    assert np.abs(one - run(2)).max() > 0.1
    np.testing.assert_allclose(run(None), logits, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near_float32_and_its_logits_are_float32(tiny, params, logits):
    config = replace(tiny.config, dtype="bfloat16")
    low = jax.jit(partial(decode, config))(params, IDS, MASK, STATES, QUESTION_MASK)
    assert low.dtype == jnp.float32
    error = np.linalg.norm(low - logits) / np.linalg.norm(logits)
    assert 0 < error < 0.02
