import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.masked_words import TOP, guess, longest_words
from albef_jax.models import albef
from albef_jax.models.primitives import normalize

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def test_the_longest_words_in_reading_order():
    pieces = ["[CLS]", "a", "red", "circle", "of", "triangle"]
    assert longest_words(pieces, 3) == [2, 3, 5]
    assert longest_words(pieces, 1) == [5]


def test_parts_of_words_are_not_words():
    pieces = ["[CLS]", "red", "square", "##s", "[UNK]", "circle", "##s"]
    assert longest_words(pieces, 5) == [1]
    assert longest_words(["[CLS]"], 3) == []


def test_the_first_of_equally_long_words():
    assert longest_words(["[CLS]", "red", "one", "two"], 2) == [1, 2]


def test_only_words_of_a_kind():
    pieces = ["[CLS]", "a", "red", "circle", "of", "blue", "triangle"]
    assert longest_words(pieces, 4, only={"red", "blue"}) == [2, 5]
    assert longest_words(pieces, 1, only={"red", "blue"}) == [5]


@pytest.fixture(scope="module")
def text_ids(tokenizer):
    return tokenizer.encode(["a red circle of squares left of"])[0][0]


@pytest.fixture(scope="module")
def guessed(tiny, tokenizer, text_ids):
    return guess(*tiny, tokenizer, IMAGE, text_ids)


def test_the_right_places_are_masked(guessed):
    # Pieces: [CLS] a red circle of square ##s left, cut at 8.
    assert [(word.position, word.word) for word in guessed] == [
        (2, "red"),
        (3, "circle"),
        (7, "left"),
    ]


def test_candidates_are_the_models_most_probable(tiny, tokenizer, text_ids, guessed):
    """Each masked caption by itself, its unmasked words in place."""
    config, params = tiny

    @jax.jit
    def probabilities(ids):
        mask = jnp.ones_like(ids)
        image = albef.encode_image(config, params, normalize(jnp.asarray(IMAGE[None])))
        text = albef.encode_text(config, params, ids, mask)
        fused = albef.fuse(config, params, text[:, None], mask[:, None], image)
        return jax.nn.softmax(albef.mlm_logits(config, params, fused[0, 0]))

    for word in guessed:
        ids = text_ids.copy()
        ids[word.position] = tokenizer.mask_id
        expected = np.asarray(probabilities(ids[None])[word.position])
        best = np.argsort(-expected)[:TOP]
        assert [piece for piece, _ in word.candidates] == tokenizer.pieces(best)
        values = [value for _, value in word.candidates]
        np.testing.assert_allclose(values, expected[best], rtol=1e-4)
        assert values == sorted(values, reverse=True)
        assert 0 < sum(values) < 1


def test_padding_and_fewer_words_than_asked_for(tiny, tokenizer, guessed):
    text_ids = tokenizer.encode(["red circle"])[0][0]
    found = guess(*tiny, tokenizer, IMAGE, text_ids)
    assert [(word.position, word.word) for word in found] == [(1, "red"), (2, "circle")]
    assert found[0].candidates != guessed[0].candidates


def test_nothing_to_mask(tiny, tokenizer):
    assert guess(*tiny, tokenizer, IMAGE, tokenizer.encode(["?"])[0][0]) == []


def test_a_model_with_room_for_more_words_than_there_are(tiny, tokenizer, tmp_path):
    pieces = tokenizer.pieces(range(110))
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    fewer = Tokenizer(tmp_path / "vocab.txt", 8)
    config, params = tiny
    head = {**params["mlm_head"], "bias": jnp.where(jnp.arange(120) < 110, 0.0, 9.0)}
    ids = fewer.encode(["red circle"])[0][0]
    found = guess(config, {**params, "mlm_head": head}, fewer, IMAGE, ids)
    assert all(piece in pieces for word in found for piece, _ in word.candidates)
