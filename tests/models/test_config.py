"""Every preset, as shapes: nothing of these sizes is ever computed here."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from albef_jax.models import albef
from albef_jax.models.config import PRESETS, ModelConfig, preset


def abstract_params(config: ModelConfig):
    return jax.eval_shape(partial(albef.init, config), jax.random.key(0))


def linear(rows: int, columns: int) -> int:
    return rows * columns + columns


def expected_count(cfg: ModelConfig) -> int:
    """The sum over the paper's layers, written out; a norm is a scale and a shift."""
    image, text, hidden = cfg.image_width, cfg.text_width, cfg.text_intermediate
    tokens = (cfg.image_size // cfg.patch_size) ** 2 + 1
    block = 2 * 2 * image + linear(image, 3 * image) + linear(image, image)
    block += linear(image, 4 * image) + linear(4 * image, image)
    vit = linear(3 * cfg.patch_size**2, image) + image + tokens * image + 2 * image
    layer = 4 * linear(text, text) + 2 * text + linear(text, hidden) + linear(hidden, text)
    layer += 2 * text
    cross = 2 * linear(text, text) + 2 * linear(image, text) + 2 * text
    embeddings = (cfg.vocab_size + cfg.max_positions + 2 + 2) * text
    mlm_head = linear(text, text) + 2 * text + cfg.vocab_size
    heads = linear(image, cfg.embed_dim) + linear(text, cfg.embed_dim) + linear(text, 2)
    towers = vit + cfg.image_depth * block + embeddings
    layers = (cfg.text_depth + cfg.fusion_depth) * layer + cfg.fusion_depth * cross
    return towers + layers + mlm_head + heads + 1  # the temperature


def test_base_has_the_official_number_of_parameters():
    assert albef.count_parameters(abstract_params(PRESETS["base"])) == 209_937_725


@pytest.mark.parametrize("name", PRESETS)
def test_count_is_the_sum_over_the_layers(name):
    params = abstract_params(PRESETS[name])
    assert albef.count_parameters(params) == expected_count(PRESETS[name])


@pytest.mark.parametrize(
    "name, image, text, intermediate, depths, tokens, embed",
    [
        ("tiny", 128, 128, 512, (4, 2, 2), 37, 64),
        ("small", 384, 384, 1536, (12, 6, 6), 257, 256),
        ("base", 768, 768, 3072, (12, 6, 6), 257, 256),
        ("large", 1024, 768, 3072, (24, 6, 6), 257, 256),
    ],
)
def test_parameter_shapes(name, image, text, intermediate, depths, tokens, embed):
    params = abstract_params(PRESETS[name])
    blocks, layers = params["image_encoder"]["blocks"], params["text_encoder"]["layers"]
    fusion = params["fusion_encoder"]["layers"]
    assert params["image_encoder"]["pos_embed"].shape == (1, tokens, image)
    assert blocks["qkv"]["kernel"].shape == (depths[0], image, 3 * image)
    assert layers["intermediate"]["kernel"].shape == (depths[1], text, intermediate)
    assert fusion["self_attention"]["key"]["kernel"].shape == (depths[2], text, text)
    assert fusion["cross_attention"]["query"]["kernel"].shape == (depths[2], text, text)
    assert fusion["cross_attention"]["key"]["kernel"].shape == (depths[2], image, text)
    assert fusion["cross_attention"]["value"]["kernel"].shape == (depths[2], image, text)
    assert params["image_proj"]["kernel"].shape == (image, embed)
    assert params["text_proj"]["kernel"].shape == (text, embed)
    assert params["itm_head"]["kernel"].shape == (text, 2)
    assert params["mlm_head"]["bias"].shape == (PRESETS[name].vocab_size,)
    assert params["temperature"].shape == ()


@pytest.mark.parametrize("name", PRESETS)
def test_output_shapes(name):
    config = PRESETS[name]

    def forward(params, image, text_ids):
        mask = jnp.ones_like(text_ids)
        image_embeds = albef.encode_image(config, params, image)
        text_embeds = albef.encode_text(config, params, text_ids, mask)
        fused = albef.fuse(config, params, text_embeds[:, None], mask[:, None], image_embeds)
        logits = albef.mlm_logits(config, params, fused[:, 0])
        return image_embeds, text_embeds, fused, logits, albef.itm_logits(params, fused[:, :, 0])

    image = jax.ShapeDtypeStruct((2, config.image_size, config.image_size, 3), jnp.float32)
    text_ids = jax.ShapeDtypeStruct((2, 7), jnp.int32)
    outputs = jax.eval_shape(forward, abstract_params(config), image, text_ids)
    width = config.text_width
    assert [out.shape for out in outputs] == [
        (2, config.image_tokens, config.image_width),
        (2, 7, width),
        (2, 1, 7, width),
        (2, 7, config.vocab_size),
        (2, 1, 2),
    ]


def test_all_parameters_are_float32_at_any_dtype():
    params = abstract_params(preset("tiny", dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_preset_overrides():
    config = preset("tiny", vocab_size=449, dropout=0.5)
    assert (config.vocab_size, config.dropout, config.image_width) == (449, 0.5, 128)
    assert PRESETS["tiny"].vocab_size == 30522
    with pytest.raises(KeyError):
        preset("huge")
    with pytest.raises(TypeError, match="hidden_size"):
        preset("tiny", hidden_size=3)
