import numpy as np
import pytest

from albef_jax.evaluate import gradcam, word_heat
from albef_jax.evaluate.word_heat import heated, joined_words, published_layer
from albef_jax.models.pixels import normalize
from albef_jax.models.sizes import ModelConfig


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def test_the_published_layer():
    assert published_layer(ModelConfig()) == 8


def test_pieces_are_joined_to_words_with_their_places():
    assert joined_words(["a", "triangle", "##s", "red"]) == [
        ("a", [1]),
        ("triangles", [2, 3]),
        ("red", [4]),
    ]
    assert joined_words([]) == []


def test_maps_are_those_of_gradcam_without_padding(tiny, tokenizer, image):
    text_ids, text_mask = tokenizer.encode(["red circle"])
    found = heated(*tiny, tokenizer, image, "red circle", text_ids[0])
    layer = published_layer(tiny.config)
    attention, gradient, _ = gradcam.fusion_attention(
        *tiny, normalize(image[None]), text_ids, text_mask, layer=layer
    )
    maps = np.asarray(gradcam.word_maps(attention, gradient, text_mask))[0]
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
