"""Tokens kept on disk: written once, read where they are, and only if they still hold."""

import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest

from albef_jax.data.examples import PairExamples
from albef_jax.data.image_tokens import IMAGE_TOKENS, TokenExamples, keep_tokens, kept_tokens
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.records import EncodedPair
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.errors import BadSample, ConfigError

TOKENS = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)
MADE_OF = {"images": 4, "image_encoder": "abc"}


def batches(bad=()):
    """Two at a time, without bad ones."""
    for first in (0, 2):
        numbers = np.array([n for n in (first, first + 1) if n not in bad])
        yield numbers, TOKENS[numbers]


class Undecoded:
    """A source that is never asked for pixels."""

    def __len__(self):
        return 4

    def encoded(self, index):
        return EncodedPair(f"image {index}", b"", (f"a red ball {index}",), 10 + index)

    def __getitem__(self, index):
        raise AssertionError("decoded")


def examples_of(found, views=1):
    pairs = PairExamples(Undecoded(), EvalTransform(8), Tokenizer("scenes", 8), 30)
    return TokenExamples(pairs, *found, views)


def test_tokens_come_back_with_their_captions(tmp_path):
    examples = examples_of(keep_tokens(tmp_path, MADE_OF, TOKENS.shape, batches()))
    for copy in (examples, pickle.loads(pickle.dumps(examples))):
        for index in range(4):
            example = copy(index, np.random.default_rng(0))
            np.testing.assert_array_equal(example["image_tokens"], TOKENS[index])
            assert example["image_id"] == 10 + index
            assert example.keys() == {"image_tokens", "text_ids", "text_mask", "image_id"}
    assert len(pickle.dumps(examples)) < 100_000  # the file's name, not its content


def test_one_of_the_views_is_drawn(tmp_path):
    examples = examples_of(keep_tokens(tmp_path, MADE_OF, TOKENS.shape, batches()), views=2)
    drawn = [examples(1, np.random.default_rng(seed))["image_tokens"] for seed in range(20)]
    for view in (2, 3):
        assert any(np.array_equal(tokens, TOKENS[view]) for tokens in drawn)
    assert all(tokens[0, 0] in (TOKENS[2, 0, 0], TOKENS[3, 0, 0]) for tokens in drawn)


def test_a_later_run_finds_them(tmp_path):
    keep_tokens(tmp_path, MADE_OF, TOKENS.shape, batches(bad=(2,)))
    file, valid = kept_tokens(tmp_path, MADE_OF)
    assert file == tmp_path / IMAGE_TOKENS
    assert valid.tolist() == [True, True, False, True]
    assert kept_tokens(tmp_path, {**MADE_OF, "image_encoder": "abd"}) is None


def test_an_unusable_image_stays_a_bad_sample(tmp_path):
    examples = examples_of(keep_tokens(tmp_path, MADE_OF, TOKENS.shape, batches(bad=(2,))))
    with pytest.raises(BadSample, match="image 2: its image could not be used"):
        examples(2, np.random.default_rng(0))


def test_what_is_not_whole_is_made_again(tmp_path):
    def broken():
        yield from list(batches())[:1]
        raise KeyboardInterrupt

    keep_tokens(tmp_path, MADE_OF, TOKENS.shape, batches())
    with pytest.raises(KeyboardInterrupt):
        keep_tokens(tmp_path, MADE_OF, TOKENS.shape, broken())
    assert kept_tokens(tmp_path, MADE_OF) is None


def test_no_room_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 5, 95))
    with pytest.raises(ConfigError, match=r"takes 0\.0 GB.*choose another --workdir"):
        keep_tokens(tmp_path, MADE_OF, TOKENS.shape, iter([]))
