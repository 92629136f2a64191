"""What the comparison of training steps is given, and that it counts what it says."""

import numpy as np
import pytest

from albef_jax.models.config import preset
from benchmarks.answer_training import Data, annotators, batch_of, compare

MODEL = preset("tiny", vocab_size=2000, image_size=32)


@pytest.mark.parametrize("different", [1.5, 2.7, 6.0])
def test_annotators_disagree_as_asked(different):
    counts = annotators(different, 40_000, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(different, abs=0.05)
    assert counts.min() >= 1
    assert counts.max() <= 10
    assert counts.std() > 0.5


def test_a_batch_has_the_answers():
    counts = np.array([1, 3, 2])
    batch = batch_of(MODEL, counts, 4, (6, 5))
    assert batch["answer_ids"].shape == (3, 4, 5)
    assert np.sum(batch["answer_weight"] > 0, axis=1).tolist() == counts.tolist()
    np.testing.assert_allclose(batch["answer_weight"].sum(axis=1), 1, rtol=1e-6)


def test_operations_follow_the_rows():
    data = Data(annotators(2.7, 10_000, np.random.default_rng(0)))
    told = compare(MODEL, data, 16, (6, 5), rounds=0)
    assert told["plain_rows"] == 160
    assert 16 * 2.7 < told["packed_rows"] < 80
    assert 1 <= told["passes"] < 1.01
    assert told["fewer_operations"] > 1.3
    assert 0 < told["packed_kept_gib"] < told["plain_kept_gib"]
    single = compare(MODEL, Data(np.ones(1000, int)), 16, (6, 5), rounds=0)
    assert single["packed_rows"] == 16
    assert single["fewer_operations"] > told["fewer_operations"]


@pytest.mark.slow
def test_both_ways_run():
    told = compare(MODEL, Data(np.array([1, 2, 1, 4] * 8), padded=4), 8, (6, 5), rounds=1)
    assert told["packed_rows"] < 32
    assert told["speedup"] > 0
    assert told["plain_gib"] > 0
