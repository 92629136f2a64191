"""Encoder outputs and position embeddings against the recorded ones."""

from functools import partial

import jax
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.position_embedding import resize_position_embedding
from tests.helpers.golden_set import nhwc

ACTIVATIONS = 1e-4


@pytest.fixture(scope="module")
def recorded(golden):
    return golden.arrays("features")


@pytest.fixture(scope="module")
def texts(recorded):
    return recorded["text_ids"].astype(np.int32), recorded["text_mask"].astype(np.int32)


@pytest.fixture(scope="module")
def image_embeds(golden, recorded):
    encode = jax.jit(partial(albef.encode_image, golden.config))
    return encode(golden.official.params, nhwc(recorded["image"]))


def multi_modal(golden, image_embeds, ids, mask, image_mask=None, causal=False):
    """Text layers, then fusion layers, one text an image."""
    config = golden.config

    @jax.jit
    def fused(params, image_embeds, ids, mask, image_mask):
        text = albef.encode_text(config, params, ids, mask, causal=causal)
        texts = text[:, None], mask[:, None]
        return albef.fuse(
            config, params, *texts, image_embeds, image_mask=image_mask, causal=causal
        )

    return fused(golden.official.params, image_embeds, ids, mask, image_mask)[:, 0]


def test_image_encoder(golden, recorded, compare):
    encode = jax.jit(partial(albef.encode_image, golden.config, collect=True))
    output, inside = encode(golden.official.params, nhwc(recorded["image"]))
    compare.add("patch_embed", inside["patch_embed"], recorded["patch_embed"], ACTIVATIONS)
    for layer, block in enumerate(inside["blocks"]):
        theirs = recorded[f"vit_block_{layer}"]
        compare.add("vit_block", block, theirs, ACTIVATIONS, f"block {layer}")
    compare.add("image_embeds", output, recorded["image_embeds"], ACTIVATIONS)


def test_text_and_fusion_encoder(golden, recorded, texts, image_embeds, compare):
    config = golden.config

    @jax.jit
    def layers(params, image_embeds, ids, mask):
        text, states = albef.encode_text(config, params, ids, mask, collect=True)
        texts = text[:, None], mask[:, None]
        fused, fusions = albef.fuse(config, params, *texts, image_embeds, collect=True)
        fused = fused[:, 0]
        match = albef.itm_logits(params, fused[:, 0])
        return states, fused, fusions, albef.mlm_logits(config, params, fused), match

    states, fused, fusions, logits, match = jax.device_get(
        layers(golden.official.params, image_embeds, *texts)
    )
    embedded = recorded["text_embedding_output"]
    compare.add("text_embedding_output", states[0], embedded, ACTIVATIONS)
    for layer, state in enumerate(states):
        theirs = recorded[f"text_hidden_{layer}"]
        compare.add("text_hidden", state, theirs, ACTIVATIONS, f"layer {layer}")
    for layer, state in enumerate(fusions, config.text_depth + 1):
        theirs = recorded[f"fusion_hidden_{layer}"]
        compare.add("fusion_hidden", state[:, 0], theirs, ACTIVATIONS, f"layer {layer}")
    compare.add("multi_modal_output", fused, recorded["multi_modal_output"], ACTIVATIONS)
    compare.add("mlm_logits", logits, recorded["mlm_logits"], ACTIVATIONS)
    compare.add("itm_logits", match, recorded["itm_logits"], ACTIVATIONS)


def test_contrastive_features(golden, recorded, texts, image_embeds, compare):
    @jax.jit
    def features(params, image_embeds, ids, mask):
        text = albef.encode_text(golden.config, params, ids, mask)
        return albef.image_feature(params, image_embeds), albef.text_feature(params, text)

    found = features(golden.official.params, image_embeds, *texts)
    for name, feature in zip(("image_feat", "text_feat"), found, strict=True):
        compare.add(name, feature, recorded[name], ACTIVATIONS)


def test_masks(golden, recorded, texts, image_embeds, compare):
    ids, mask = texts
    padded = np.pad(ids, ((0, 0), (0, 4))), np.pad(mask, ((0, 0), (0, 4)))
    ours = multi_modal(golden, image_embeds, *padded)
    theirs = recorded["multi_modal_output_padded_by_4"]
    compare.add("multi_modal_output_padded", ours, theirs, ACTIVATIONS)
    holed = recorded["holed_mask"].astype(np.int32)
    half = recorded["half_image_mask"].astype(np.int32)
    ours = multi_modal(golden, image_embeds, ids, holed, image_mask=half)
    compare.add("multi_modal_output_holed", ours, recorded["multi_modal_output_holed"], ACTIVATIONS)
    ours = multi_modal(golden, image_embeds, ids, mask, causal=True)
    theirs = recorded["multi_modal_output_causal"]
    compare.add("multi_modal_output_causal", ours, theirs, ACTIVATIONS)


def test_position_embeddings(golden, compare):
    arrays = golden.arrays("pos_embed")
    cases = [name.removesuffix("_before") for name in arrays if name.endswith("_before")]
    assert cases
    for case in cases:
        after = arrays[f"{case}_after"]
        ours = resize_position_embedding(arrays[f"{case}_before"], after.shape[1] - 1)
        compare.add("pos_embed", ours, after, 1e-5, case)
