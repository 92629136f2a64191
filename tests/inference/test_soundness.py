import jax
import numpy as np
import pytest

from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import UnsoundScores
from albef_jax.evaluate.recall import recall
from albef_jax.inference.gallery import Gallery, encode
from albef_jax.inference.soundness import check_finite


def test_the_first_item_is_named():
    scores = np.zeros((4, 2))
    check_finite("logits", scores)
    check_finite("scores", np.zeros(3))
    check_finite("scores", np.zeros((0, 3)))
    scores[2, 1] = np.nan
    with pytest.raises(
        UnsoundScores, match=r"logits of item 12 are not finite \(0, nan \.\.\.\); check"
    ):
        check_finite("logits", scores, first=10)
    with pytest.raises(UnsoundScores, match="item 0"):
        check_finite("scores", np.array([np.inf, 0]))


def test_nan_is_no_right_answer():
    """Nothing compares with NaN, so that every query was found: R@1 of 100 %."""
    with pytest.raises(UnsoundScores, match="NaN; check the model's weights"):
        recall(np.full((3, 3), np.nan), np.arange(3), np.arange(3))
    scores = np.where(np.eye(3), 1.0, -np.inf)  # pairs that were not considered are no mistake
    assert recall(scores, np.arange(3), np.arange(3))["r1"] == 100


def test_features_that_are_not_finite_end_an_evaluation(tiny, batch):
    """Before ITM judges any pair."""
    broken = dict(
        tiny.params, image_proj=jax.tree.map(lambda x: x * np.nan, tiny.params["image_proj"])
    )
    gallery = Gallery(batch.image, ["a"] * 8, batch.text_ids, batch.text_mask, np.arange(8))
    with pytest.raises(UnsoundScores, match="the image features of item 0 are not finite"):
        encode(tiny.config, broken, gallery, make_mesh(1), 8)
