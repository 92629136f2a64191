import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.masked_lm import (
    MaskDraws,
    SpecialTokens,
    capacity,
    draw_masking,
    gather,
    mask_text,
    pack_selected,
)

SPECIAL = SpecialTokens()
VOCAB = 500
SHAPE = (400, 50)


@pytest.fixture(scope="module")
def texts():
    """Captions of 1 to 50 tokens; about half of the 20,000 places are padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB, SHAPE, np.int32)
    ids[:, 0] = SPECIAL.cls
    ids[rng.random(SHAPE) < 0.02] = 102  # [SEP]: an ordinary token here
    return np.where(np.arange(50) < rng.integers(1, 51, (400, 1)), ids, SPECIAL.pad)


@pytest.fixture(scope="module")
def masked(texts):
    """A hundred maskings of the texts, `[100, B, T]`."""

    def one(key):
        return mask_text(jnp.asarray(texts), draw_masking(key, SHAPE, 0.15, VOCAB), SPECIAL)

    keys = jax.random.split(jax.random.key(0), 100)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


def test_padding_and_the_class_token_are_never_masked(texts, masked):
    protected = (texts == SPECIAL.pad) | (texts == SPECIAL.cls)
    assert not np.any(masked.selected[:, protected])
    np.testing.assert_array_equal(
        masked.text_ids[:, protected], np.tile(texts[protected], (100, 1))
    )


def test_every_other_token_is_masked_equally_often(texts, masked):
    maskable = (texts != SPECIAL.pad) & (texts != SPECIAL.cls)
    count = masked.selected[:, maskable].size
    assert masked.selected[:, maskable].mean() == pytest.approx(0.15, abs=5 * count**-0.5 * 0.36)
    assert np.any(masked.selected[:, texts == 102])


def test_only_selected_tokens_change(texts, masked):
    np.testing.assert_array_equal(
        masked.text_ids[~masked.selected],
        np.broadcast_to(texts, masked.text_ids.shape)[~masked.selected],
    )


def test_proportions_of_what_stands_in(texts, masked):
    """80 % [MASK], 10 % random words, 10 % unchanged."""
    new = masked.text_ids[masked.selected]
    old = np.broadcast_to(texts, masked.text_ids.shape)[masked.selected]
    error = 5 * 0.4 / len(new) ** 0.5
    assert error < 0.01
    is_mask, same = new == SPECIAL.mask, new == old
    # A random word is [MASK], or the word itself, once in VOCAB draws.
    assert is_mask.mean() == pytest.approx(0.8, abs=error + 0.1 / VOCAB)
    assert (same & ~is_mask).mean() == pytest.approx(0.1, abs=error + 0.1 / VOCAB)
    assert (~same & ~is_mask).mean() == pytest.approx(0.1, abs=error + 0.2 / VOCAB)


def test_random_words_come_from_the_whole_vocabulary():
    words = np.asarray(draw_masking(jax.random.key(1), (1000, 100), 0.15, VOCAB).random_words)
    assert (words.min(), words.max()) == (0, VOCAB - 1)
    counts = np.bincount(words.reshape(-1), minlength=VOCAB)
    assert counts.min() > 0
    # Chi-square with 499 degrees of freedom: 99.9 % below 602.
    assert np.sum((counts - 200.0) ** 2 / 200) < 602


def test_outcomes_are_applied_as_drawn():
    ids = jnp.array([[101, 7, 8, 9, 11, 0]])
    yes, no = jnp.ones((1, 6), bool), jnp.zeros((1, 6), bool)
    words = jnp.arange(40, 46)[None]

    def apply(selected, to_mask, to_random):
        draws = MaskDraws(jnp.asarray(selected), to_mask, to_random, words)
        found = mask_text(ids, draws, SPECIAL)
        return found.text_ids[0].tolist(), found.selected[0].tolist()

    some = jnp.array([[True, True, False, False, True, True]])
    kept = [False, True, False, False, True, False]
    assert apply(some, yes, no) == ([101, 103, 8, 9, 103, 0], kept)
    assert apply(some, yes, yes) == ([101, 103, 8, 9, 103, 0], kept)
    assert apply(some, no, yes) == ([101, 41, 8, 9, 44, 0], kept)
    assert apply(some, no, no) == ([101, 7, 8, 9, 11, 0], kept)


def test_special_ids_are_a_choice():
    special = SpecialTokens(pad=9, cls=7, mask=3)
    every = jnp.ones((1, 4), bool)
    draws = MaskDraws(every, every, ~every, jnp.zeros((1, 4), jnp.int32))
    found = mask_text(jnp.array([[7, 101, 0, 9]]), draws, special)
    assert found.text_ids[0].tolist() == [7, 3, 3, 9]


def test_draws_follow_their_key():
    one, again, other = (
        draw_masking(jax.random.key(seed), (50, 50), 0.5, 100) for seed in (0, 0, 1)
    )
    for field in MaskDraws._fields:
        first, same, different = (np.asarray(getattr(d, field)) for d in (one, again, other))
        np.testing.assert_array_equal(first, same)
        assert np.any(first != different)
    assert np.any(np.asarray(one.to_mask_token != one.to_random_word))


@pytest.fixture(scope="module")
def selected():
    return np.random.default_rng(0).random((6, 10)) < 0.3


def test_packed_tokens_are_exactly_the_selected_ones(selected):
    positions = pack_selected(jnp.asarray(selected), groups=2, slots=20)
    tokens = np.arange(60).reshape(6, 10)
    taken = np.asarray(gather(jnp.asarray(tokens), positions))
    used = np.asarray(positions.used)
    for group in (0, 1):
        rows = slice(3 * group, 3 * group + 3)
        assert taken[group][used[group]].tolist() == tokens[rows][selected[rows]].tolist()
    assert int(positions.overflow.sum()) == 0


def test_taking_vectors(selected):
    x = np.random.default_rng(1).standard_normal((6, 10, 4), np.float32)
    positions = pack_selected(jnp.asarray(selected), groups=2, slots=20)
    taken, used = np.asarray(gather(jnp.asarray(x), positions)), np.asarray(positions.used)
    assert taken.shape == (2, 20, 4)
    np.testing.assert_array_equal(taken[0][used[0]], x[:3][selected[:3]])


def test_too_few_slots_are_counted(selected):
    per_group = selected.reshape(2, -1).sum(axis=1)
    positions = pack_selected(jnp.asarray(selected), groups=2, slots=5)
    assert per_group.min() > 5
    assert np.all(positions.used)
    assert int(positions.overflow.sum()) == per_group.sum() - 10
    # The first ones are kept.
    first = np.flatnonzero(selected.reshape(2, -1)[1])[:5]
    assert np.asarray(positions.token)[1].tolist() == first.tolist()


def test_nothing_selected():
    positions = pack_selected(jnp.zeros((4, 5), bool), groups=2, slots=3)
    assert not np.any(positions.used)
    assert int(positions.overflow.sum()) == 0


def test_capacity_is_six_standard_deviations_above_the_mean():
    # 64 captions of 30 tokens: 288 on average, standard deviation 15.6.
    assert capacity(64 * 30, 0.15) == 382
    assert capacity(4, 0.15) == 4
    assert capacity(10, 1.0) == 10
    assert capacity(1000, 0.0) == 1


def test_capacity_suffices():
    """A thousand groups of eight captions, every token maskable."""
    chosen = np.random.default_rng(2).random((8000, 30)) < 0.15
    positions = pack_selected(jnp.asarray(chosen), groups=1000, slots=capacity(240, 0.15))
    assert int(positions.overflow.sum()) == 0
