"""Heat maps against layers in float64 and finite differences of their attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, softmax

from albef_jax.inference.heat_maps import gradcam
from albef_jax.models import albef
from albef_jax.models.primitives import normalize

HEADS, PAIRS = 2, 3
RNG = np.random.default_rng(0)


class Probe:
    """Attention, with something added to the probabilities of one layer."""

    def __init__(self, layer, added=0.0):
        self.layer, self.added, self.seen = layer, added, None

    def __call__(self, number, query, key, value, hidden=None):
        """All `[B, T, D]`; `hidden [B, S]` are keys nobody sees."""
        query, key, value = (x.reshape(*x.shape[:2], HEADS, -1) for x in (query, key, value))
        scores = np.einsum("bthk,bshk->bhts", query, key) / np.sqrt(query.shape[-1])
        if hidden is not None:
            scores = np.where(hidden[:, None, None], -np.inf, scores)
        probabilities = softmax(scores, axis=-1)
        if number == self.layer:
            self.seen = probabilities
            probabilities = probabilities + self.added
        return np.einsum("bhts,bshk->bthk", probabilities, value).reshape(*query.shape[:2], -1)


def linear(params, x):
    return x @ params["kernel"] + params["bias"]


def norm(params, x, epsilon):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * params["scale"] + params["bias"]


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def fusion_layer(params, number, probe, x, text_mask, image):
    """One BERT layer with cross-attention, post-norm; `probe` is in the cross-attention."""

    def attend(params, number, x, y, hidden):
        names = (("query", x), ("key", y), ("value", y))
        inside = probe(number, *(linear(params[name], z) for name, z in names), hidden)
        return norm(params["norm"], linear(params["out"], inside) + x, 1e-12)

    x = attend(params["self_attention"], None, x, x, text_mask == 0)
    x = attend(params["cross_attention"], number, x, image, None)
    inside = linear(params["output"], gelu(linear(params["intermediate"], x)))
    return norm(params["norm"], inside + x, 1e-12)


def image_block(params, number, probe, x):
    """One ViT block, pre-norm."""
    qkv = linear(params["qkv"], norm(params["norm1"], x, 1e-6))
    x = x + linear(params["proj"], probe(number, *np.split(qkv, 3, axis=-1)))
    inside = gelu(linear(params["fc1"], norm(params["norm2"], x, 1e-6)))
    return x + linear(params["fc2"], inside)


def feature(params, cls_tokens):
    x = linear(params, cls_tokens)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def inputs(batch):
    return (
        normalize(jnp.asarray(batch.image[:PAIRS])),
        jnp.asarray(batch.text_ids[:PAIRS]),
        jnp.asarray(batch.text_mask[:PAIRS]),
    )


@pytest.fixture(scope="module")
def wide(tiny):
    """The tree in float64, and one layer of a stack of it."""
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tiny.params)

    def layer(module, stacked, number):
        return jax.tree.map(lambda leaf: leaf[number], tree[module][stacked])

    return tree, layer


@pytest.fixture(scope="module")
def encoded(tiny, inputs):
    """What the probed layers read: image tokens, text tokens, and the first block's input."""

    @jax.jit
    def run(params):
        image, text_ids, mask = inputs
        text = albef.encode_text(tiny.config, params, text_ids, mask)
        embeds, inside = albef.encode_image(tiny.config, params, image, collect=True)
        return embeds, text, inside["patch_embed"]

    image, text, patches = (np.asarray(x, np.float64) for x in run(tiny.params))
    encoder = tiny.params["image_encoder"]
    cls_tokens = np.broadcast_to(np.asarray(encoder["cls_token"], np.float64), (PAIRS, 1, 32))
    first = np.concatenate([cls_tokens, patches], axis=1) + np.asarray(encoder["pos_embed"])
    return image, text, first


@pytest.fixture(scope="module")
def matched(wide, inputs, encoded):
    """Match logits in float64, with something added to one fusion layer's probabilities."""
    tree, layer = wide

    def matched(probe):
        image, x, _ = encoded
        for number in range(2):
            params = layer("fusion_encoder", "layers", number)
            x = fusion_layer(params, number, probe, x, np.asarray(inputs[2]), image)
        return linear(tree["itm_head"], x[:, 0])

    return matched


@pytest.fixture(scope="module")
def compared(wide, encoded):
    """Contrastive similarities in float64, with something added to one block's probabilities."""
    tree, layer = wide
    text_feat = feature(tree["text_proj"], encoded[1][:, 0])

    def compared(probe):
        x = encoded[2]
        for number in range(2):
            x = image_block(layer("image_encoder", "blocks", number), number, probe, x)
        x = norm(tree["image_encoder"]["norm"], x, 1e-6)
        image_feat = feature(tree["image_proj"], x[:, 0])
        return np.sum(image_feat * text_feat, axis=1) / tree["temperature"]

    return compared


def differences(scalars, layer, shape, places):
    """Central differences of each pair's score, for all pairs at once."""
    found = np.zeros(shape)
    for place in places:
        step = np.zeros(shape)
        step[:, *place] = 1e-5
        ends = [scalars(Probe(layer, sign * step)) for sign in (1, -1)]
        found[:, *place] = (ends[0] - ends[1]) / 2e-5
    return found


@pytest.fixture(scope="module", params=[2, 3])
def fusion(tiny, inputs, request):
    """Of each of the two fusion layers, which come after two text layers."""
    run = jax.jit(partial(gradcam.fusion_attention, tiny.config, layer=request.param))
    return request.param, *map(np.asarray, run(tiny.params, *inputs))


@pytest.fixture(scope="module", params=[0, 1])
def contrast(tiny, inputs, request):
    """Of each of the two blocks of the image encoder."""
    run = jax.jit(partial(gradcam.image_attention, tiny.config, block=request.param))
    return request.param, *map(np.asarray, run(tiny.params, *inputs))


def test_cross_attention_of_the_chosen_layer(fusion, matched):
    layer, probabilities, _, logits = fusion
    probe = Probe(layer - 2)
    np.testing.assert_allclose(logits, matched(probe), rtol=1e-4, atol=1e-5)
    assert probabilities.shape == (PAIRS, HEADS, 6, 5)
    np.testing.assert_allclose(probabilities, probe.seen, rtol=1e-3, atol=1e-5)


def test_its_gradient_is_that_of_the_match_logit(fusion, matched):
    layer, _, gradient, _ = fusion
    shape = (PAIRS, HEADS, 6, 5)
    expected = differences(
        lambda probe: matched(probe)[:, 1], layer - 2, shape, np.ndindex(shape[1:])
    )
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * scale)


def test_attention_of_the_class_token(contrast, compared):
    block, probabilities, _ = contrast
    probe = Probe(block)
    compared(probe)
    assert probabilities.shape == (PAIRS, HEADS, 5)
    np.testing.assert_allclose(probabilities, probe.seen[:, :, 0], rtol=1e-3, atol=1e-5)


def test_its_gradient_is_that_of_the_similarity(contrast, compared):
    block, _, gradient = contrast
    shape = (PAIRS, HEADS, 5, 5)
    places = [(head, 0, token) for head, token in np.ndindex(HEADS, 5)]
    expected = differences(compared, block, shape, places)[:, :, 0]
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * scale)


PROBABILITIES = RNG.random((2, HEADS, 4, 10)).astype(np.float32)
GRADIENT = RNG.standard_normal((2, HEADS, 4, 10)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)


def test_a_word_is_where_attention_helps_the_match():
    words = gradcam.word_maps(*map(jnp.asarray, (PROBABILITIES, GRADIENT, MASK)))
    assert words.shape == (2, 4, 3, 3)
    for pair, token, row, column in np.ndindex(2, 4, 3, 3):
        place = 1 + 3 * row + column  # behind the class token, in reading order
        parts = [
            PROBABILITIES[pair, head, token, place] * max(GRADIENT[pair, head, token, place], 0)
            for head in range(HEADS)
        ]
        expected = np.mean(parts) * MASK[pair, token]
        assert float(words[pair, token, row, column]) == pytest.approx(expected, abs=1e-6)
    assert not np.any(words[1, 2:])
    assert np.all(np.asarray(words) >= 0)
    assert np.any(words > 0)


def test_a_text_is_the_mean_over_all_positions_with_padding():
    words = RNG.random((2, 4, 3, 3)).astype(np.float32) * MASK[..., None, None]
    found = gradcam.text_map(jnp.asarray(words))
    np.testing.assert_allclose(found[0], words[0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[1], words[1, :2].sum(axis=0) / 4, rtol=1e-5)


def test_a_image_is_where_the_class_token_helps_the_contrast():
    found = gradcam.image_map(jnp.asarray(PROBABILITIES[:, :, 0]), jnp.asarray(GRADIENT[:, :, 0]))
    weighted = PROBABILITIES[:, :, 0] * np.maximum(GRADIENT[:, :, 0], 0)
    expected = weighted.mean(axis=1)[:, 1:].reshape(2, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [-1, 0, 1, 4, 99])
def test_a_layer_that_does_not_exist_has_no_heat(tiny, batch, number):
    """Two text layers, two fusion layers, two blocks; nothing is compiled."""
    inputs = tiny.config, tiny.params, batch.image, batch.text_ids, batch.text_mask
    with pytest.raises(ValueError, match=rf"^layer={number}: must be 2 to 3 in this model$"):
        gradcam.fusion_attention(*inputs, layer=number)
    if number not in (0, 1):
        with pytest.raises(ValueError, match=rf"^block={number}: must be 0 to 1 in this model$"):
            gradcam.image_attention(*inputs, block=number)
