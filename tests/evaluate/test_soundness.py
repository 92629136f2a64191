import numpy as np
import pytest

from albef_jax.evaluate.soundness import UnsoundScores, check_finite


def test_the_first_item_is_named():
    scores = np.zeros((4, 2))
    check_finite("logits", scores)
    check_finite("scores", np.zeros(3))
    check_finite("scores", np.zeros((0, 3)))
    scores[2, 1] = np.nan
    with pytest.raises(UnsoundScores, match=r"logits of item 12 are not finite: \[0.0, nan\]"):
        check_finite("logits", scores, first=10)
    with pytest.raises(UnsoundScores, match="item 0"):
        check_finite("scores", np.array([np.inf, 0]))
