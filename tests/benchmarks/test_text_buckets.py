"""What length buckets save: the lengths, the batches in each bucket, and the operations."""

import json

import numpy as np
import pytest

from albef_jax.losses.masked_lm import capacity
from albef_jax.models.config import preset
from albef_jax.observability.flops import PretrainingFlops
from benchmarks.text_buckets import cc3m, flops, main, shares, world


def test_lengths_of_cc3m_have_the_published_statistics():
    chances = cc3m(200)  # nothing is cut
    words = np.arange(201) - 1  # without [CLS]
    assert chances.sum() == pytest.approx(1)
    mean = (chances * words).sum()
    assert mean == pytest.approx(10.3, abs=0.05)
    assert ((chances * (words - mean) ** 2).sum()) ** 0.5 == pytest.approx(4.5, abs=0.05)
    assert words[np.searchsorted(chances.cumsum(), 0.5)] == 9
    assert not chances[:2].any()


def test_what_is_longer_is_cut():
    assert cc3m(25)[:25] == pytest.approx(cc3m(200)[:25])
    assert cc3m(25)[25] == pytest.approx(cc3m(200)[25:].sum())
    chances = world(25, 300)
    assert chances.sum() == pytest.approx(1)
    assert len(chances) == 26 and not chances[:3].any() and chances[25] > 0.05


def test_shares_of_batches():
    lengths = np.array([3, 9] * 8)
    assert shares(lengths, (4, 10), 4, "published", 4).tolist() == [0, 1]
    assert shares(lengths, (4, 10), 4, "grouped", 4).tolist() == [0.5, 0.5]
    assert shares(lengths, (4, 10), 4, "grouped", 1).tolist() == [0, 1]


def test_operations_are_those_of_the_recipe():
    slots = capacity(64 * 16, 0.15) / 64
    expected = PretrainingFlops(preset("base"), 16, 64, 65_536, slots).fused()
    assert flops("4m", 16) == pytest.approx(expected)


def test_table_and_json(tmp_path, capsys):
    out = tmp_path / "found.json"
    small = ["--batch", "8", "--batches", "64", "--scenes", "200", f"--out={out}"]
    main([*small, "--buckets", "8,16,25", "12,25"])
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(out.read_text())
    assert json.loads(printed[-1]) == found
    assert sum(line.startswith(("| cc3m |", "| world |")) for line in printed) == len(found["rows"])
    of = {(row["captions"], row["buckets"], row["order"]): row for row in found["rows"]}
    assert len(of) == 8
    for (captions, buckets, order), row in of.items():
        assert sum(row["shares"]) == pytest.approx(1, abs=1e-3)
        assert row["saved"] <= found["saved_without_any_padding"][captions]
        if order == "grouped":
            assert row["saved"] > of[captions, buckets, "published"]["saved"]
    costs = found["gflops_a_pair"]["4m"]
    row = of["cc3m", "8,16,25", "grouped"]
    needed = sum(s * costs[w] for s, w in zip(row["shares"], ("8", "16", "25"), strict=True))
    assert row["saved"] == pytest.approx(1 - needed / costs["25"], abs=1e-3)


def test_buckets_that_end_differently_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--buckets", "8,25", "8,30"])
    assert "must end in the same width" in capsys.readouterr().err
