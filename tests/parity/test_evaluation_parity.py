"""Evaluations of the downstream tasks against recorded ones: recall, ranking, heat maps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.evaluate.recall import recall
from albef_jax.inference.answer_decoding import rank
from albef_jax.inference.heat_maps import gradcam
from albef_jax.inference.heat_maps.boxes import (
    enlarge,
    grounding_accuracy,
    iou,
    is_found,
    rank_boxes,
)
from albef_jax.inference.rerank import candidates, score_texts
from albef_jax.models import albef
from tests.helpers.golden_set import nhwc

ACTIVATIONS = 1e-4


@pytest.fixture(scope="module")
def retrieval(golden):
    return jax.tree.map(jnp.asarray, golden.task("retrieval", "retrieval").params)


def ints(array):
    return np.asarray(array, np.int32)


@pytest.fixture(scope="module")
def searched(golden, retrieval):
    """Similarities, ITM scores of all pairs, and the record."""
    recorded = golden.arrays("retrieval_eval")
    config, params = golden.config, retrieval
    ids, mask = ints(recorded["text_ids"]), ints(recorded["text_mask"])

    @jax.jit
    def encoded(params, image, ids, mask):
        image_embeds = albef.encode_image(config, params, image)
        text_embeds = albef.encode_text(config, params, ids, mask)
        features = (
            albef.image_feature(params, image_embeds),
            albef.text_feature(params, text_embeds),
        )
        return features, text_embeds, albef.image_keys_values(config, params, image_embeds)

    features, text_embeds, keys_values = encoded(params, nhwc(recorded["image"]), ids, mask)
    shape = (len(recorded["image"]), *text_embeds.shape)
    texts = {
        "text_embeds": np.broadcast_to(text_embeds, shape),
        "text_mask": np.broadcast_to(mask, shape[:3]),
    }
    itm = score_texts(config, params, keys_values, texts)
    return *jax.device_get((*features, itm)), recorded


def test_retrieval_scores(golden, searched, compare):
    image_feat, text_feat, itm, recorded = searched
    compare.add("eval image_feat", image_feat, recorded["image_feat"], ACTIVATIONS)
    compare.add("eval text_feat", text_feat, recorded["text_feat"], ACTIVATIONS)
    similarities = image_feat @ text_feat.T
    compare.add("eval similarities", similarities, recorded["sims_matrix"], ACTIVATIONS)
    chosen = candidates(similarities, 4)
    for name, theirs, kept in (
        ("i2t", recorded["score_matrix_i2t"], chosen.texts),
        ("t2i", recorded["score_matrix_t2i"].T, chosen.images),
    ):
        assert np.array_equal(kept, theirs != -100), name
        compare.add("eval itm scores", itm[kept], theirs[kept], ACTIVATIONS, name)


def test_recall(golden, searched):
    _, _, itm, recorded = searched
    figures = golden.json("retrieval_eval")
    owner = recorded["txt2img"]
    images = np.arange(len(itm))
    chosen = candidates(recorded["sims_matrix"], 4)
    ways = {
        "txt": recall(np.where(chosen.texts, itm, -np.inf), images, owner),
        "img": recall(np.where(chosen.images, itm, -np.inf).T, owner, images),
    }
    compared = 0
    for way, ours in ways.items():
        for k, value in ours.items():
            name = f"{way}_{k}"
            won, lost = figures["result_ties_won"][name], figures["result_ties_lost"][name]
            if figures["result"][name] == won == lost:
                assert value == pytest.approx(won), name
                compared += 1
    assert compared >= 2


def test_recall_without_ties(golden, searched):
    recorded, figures = searched[-1], golden.json("retrieval_eval")["no_ties_result"]
    scores, owner = recorded["no_ties_score_i2t"], np.repeat(np.arange(15), 3)
    texts = recall(scores, np.arange(15), owner)
    images = recall(recorded["no_ties_score_t2i"], owner, np.arange(15))
    for k in ("r1", "r5", "r10"):
        assert texts[k] == pytest.approx(figures[f"txt_{k}"])
        assert images[k] == pytest.approx(figures[f"img_{k}"])


def test_answer_ranking(golden, compare):
    recorded = golden.arrays("vqa_rank")
    params = jax.tree.map(jnp.asarray, golden.task("vqa", "vqa").params)
    mask = ints(recorded["question_mask"])
    question = nhwc(recorded["image"]), ints(recorded["question_ids"]), mask
    answers = ints(recorded["answer_ids"]), ints(recorded["answer_mask"])
    k = int(recorded["k"])

    @jax.jit
    def ranking(params, question, answers):
        states = albef.fuse_pairs(golden.config, params, *question)
        return rank(golden.config, params, states, question[2], *answers, k)

    ranked = ranking(params, question, answers)
    np.testing.assert_array_equal(ranked.places, recorded["topk_ids"])
    compare.add("vqa rank share", ranked.probabilities, recorded["topk_probs"], ACTIVATIONS)
    order = np.argsort(-recorded["log_probs_sum"], axis=1, kind="stable")
    scores = np.take_along_axis(recorded["log_probs_sum"], order, axis=1)
    compare.add("vqa rank score", ranked.scores, scores, ACTIVATIONS)


def test_heat_maps_of_matching(golden, retrieval, compare):
    recorded = golden.arrays("grounding")
    inputs = nhwc(recorded["image"]), ints(recorded["text_ids"]), ints(recorded["text_mask"])
    layers = sorted({key.split("/")[0] for key in recorded if key.startswith("itm_layer")})
    assert layers
    for name in layers:
        attend = partial(gradcam.fusion_attention, layer=int(name.removeprefix("itm_layer")))

        @jax.jit
        def heat(params, *inputs, attend=attend):
            attention, gradient, logits = attend(golden.config, params, *inputs)
            words = gradcam.word_maps(attention, gradient, inputs[2])
            return attention, gradient, words, gradcam.text_map(words), logits

        *maps, logits = heat(retrieval, *inputs)
        quantities = ("attention_map", "attention_grad", "gradcam_per_token", "gradcam")
        for quantity, ours in zip(quantities, maps, strict=True):
            theirs = recorded[f"{name}/{quantity}"]
            compare.add(f"grounding {quantity}", ours, theirs, ACTIVATIONS, name)
        compare.add("grounding itm_logits", logits, recorded["itm_logits"], ACTIVATIONS, name)


def test_heat_maps_of_contrast(golden, retrieval, compare):
    recorded = golden.arrays("grounding")
    inputs = nhwc(recorded["image"]), ints(recorded["text_ids"]), ints(recorded["text_mask"])
    blocks = sorted({key.split("/")[0] for key in recorded if key.startswith("itc_block")})
    assert blocks
    for name in blocks:
        attend = partial(gradcam.image_attention, block=int(name.removeprefix("itc_block")))

        @jax.jit
        def heat(params, *inputs, attend=attend):
            attention, gradient = attend(golden.config, params, *inputs)
            return attention, gradient, gradcam.image_map(attention, gradient)

        quantities = ("attention_map_cls_row", "attention_grad_cls_row", "gradcam")
        for quantity, ours in zip(quantities, heat(retrieval, *inputs), strict=True):
            theirs = recorded[f"{name}/{quantity}"]
            compare.add(f"grounding itc {quantity}", ours, theirs, ACTIVATIONS, name)


def test_grounding_accuracy(golden):
    """Boxes chosen from recorded heat maps: outcome for every possible truth, and accuracy."""
    record = golden.json("grounding_eval")
    size = record["image_height"], record["image_width"]
    boxes = [np.array(found)[:, :4] for found in record["detections_xywh_score"]]
    heatmaps = golden.arrays("grounding")["eval/heatmaps"]
    assert len(heatmaps) == len(boxes)
    chosen = []
    for heat, candidates_, outcomes in zip(
        heatmaps, boxes, record["truth_at_detection_j_counts_as_correct"], strict=True
    ):
        best = candidates_[rank_boxes(enlarge(heat, *size), candidates_)[0][0]]
        assert [is_found(best, truth) for truth in candidates_] == outcomes
        chosen.append(best)
    found = grounding_accuracy(chosen, record["truth_boxes"], record["split"])
    theirs = {name.removesuffix("_d"): 100 * share for name, share in record["accuracy"].items()}
    assert found == pytest.approx(theirs)


def test_overlaps_of_boxes(golden):
    for pair in golden.json("grounding_eval")["iou"]:
        assert iou(pair["box1"], pair["box2"]) == pytest.approx(pair["iou"], abs=1e-9)
