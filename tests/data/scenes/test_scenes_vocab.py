"""The vocabulary file: current, with BERT's ids, and complete for all that the world says."""

import string
from pathlib import Path

import numpy as np
import pytest
from scene_reader import SYNONYMS

import albef_jax.data
from albef_jax.data.scenes.captions import captions
from albef_jax.data.scenes.noise import unrelated
from albef_jax.data.scenes.sample import sample_scene
from albef_jax.data.scenes.vocab import vocabulary

VOCAB = Path(albef_jax.data.__file__).parent / "vocab"


@pytest.fixture(scope="module")
def tokens():
    return vocabulary()


def test_the_file_is_what_the_grammar_gives(tokens):
    written = (VOCAB / "scenes.txt").read_text(encoding="ascii")
    assert written == "\n".join(tokens) + "\n", "run `python -m tools.make_scene_vocab`"


def test_special_tokens_have_the_ids_of_bert(tokens):
    bert = (VOCAB / "bert-base-uncased.txt").read_text(encoding="utf-8").splitlines()
    assert tokens[:104] == bert[:104]
    assert tokens.index("[MASK]") == 103


def test_tokens_are_unique_few_and_sorted(tokens):
    assert len(set(tokens)) == len(tokens) < 500
    words = tokens[104 : tokens.index("a")]
    assert words == sorted(words)


def test_no_lower_case_ascii_text_is_unknown(tokens):
    single = set(string.ascii_lowercase + string.digits)
    assert single | {f"##{character}" for character in single} <= set(tokens)


def test_everything_said_is_in_whole_words(tokens):
    rng = np.random.default_rng(0)
    said = {word for _ in range(200) for word in unrelated(rng).split() if not word.isdigit()}
    for index in range(600):
        for text in captions(sample_scene(0, "test", index), rng, 8):
            said.update(text.split())
    assert said <= set(tokens)
    assert len(said) > 150
    assert set(SYNONYMS) <= said


def test_later_tasks_find_their_words(tokens):
    asked = "what how many is there are which yes no true false more than same both images zero ten"
    assert set(asked.split()) <= set(tokens)
