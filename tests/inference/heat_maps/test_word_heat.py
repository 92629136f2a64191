import jax
import numpy as np
import pytest

from albef_jax.inference.heat_maps import gradcam, word_heat
from albef_jax.inference.heat_maps.word_heat import by_word, heated, official_layer
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def test_the_official_layer():
    assert official_layer(ModelConfig()) == 8


def test_a_word_has_the_mean_heat_of_its_pieces():
    """The text that of all its tokens, [CLS] included, but not of the padding behind."""
    maps = np.array([8.0, 1, 2, 4, 6, 3, 100, 100]).reshape(8, 1, 1) * np.ones((2, 2))
    whole, words = by_word(["a", "un", "##like", "##ly", "ball"], maps)
    assert [word for word, _ in words] == ["a", "unlikely", "ball"]
    assert [heat.tolist() for _, heat in words] == [[[mean] * 2] * 2 for mean in (1, 4, 3)]
    assert whole.tolist() == [[4, 4], [4, 4]]


def test_a_text_without_words():
    whole, words = by_word([], np.arange(8.0).reshape(2, 2, 2))
    assert whole.tolist() == [[0, 1], [2, 3]] and words == []


def test_pieces_without_a_beginning_stand_alone():
    _, words = by_word(["##s", "##t", "ball"], np.zeros((4, 1, 1)))
    assert [word for word, _ in words] == ["##st", "ball"]


def test_maps_are_those_of_gradcam_without_padding(tiny, tokenizer, image):
    text_ids, text_mask = tokenizer.encode(["red circle"])
    found = heated(*tiny, tokenizer, image, "red circle", text_ids[0])
    layer = official_layer(tiny.config)

    @jax.jit
    def word_maps(params, image, text_ids, text_mask):
        inputs = normalize(image[None]), text_ids, text_mask
        attention, gradient, _ = gradcam.fusion_attention(tiny.config, params, *inputs, layer=layer)
        return gradcam.word_maps(attention, gradient, text_mask)[0]

    maps = np.asarray(word_maps(tiny.params, image, text_ids, text_mask))
    assert maps[:3].max() > 0
    assert [word for word, _ in found.words] == ["red", "circle"]
    np.testing.assert_allclose(found.heatmap, maps[:3].mean(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.words[1][1], maps[2], rtol=1e-4, atol=1e-7)


def test_of_a_long_caption_the_longest_words_are_shown_in_order(
    tiny, tokenizer, image, monkeypatch
):
    monkeypatch.setattr(word_heat, "WORDS", 3)
    text_ids, _ = tokenizer.encode(["a red of left circle a"])
    found = heated(*tiny, tokenizer, image, "a red of left circle a", text_ids[0])
    assert [word for word, _ in found.words] == ["red", "left", "circle"]
