"""The vocabulary file: current, with BERT's ids, and complete for all that the world says."""

import hashlib
import string
from pathlib import Path

import numpy as np
import pytest

import albef_jax.data
from albef_jax.data.scenes.language.captions import captions
from albef_jax.data.scenes.language.noise import unrelated
from albef_jax.data.scenes.language.questions import ANSWERS
from albef_jax.data.scenes.language.vocab import extended
from albef_jax.data.scenes.task_sources import (
    ScenesQuestions,
    ScenesReferring,
    ScenesSentences,
    ScenesTwoImages,
)
from albef_jax.data.scenes.world.sample import sample_scene
from tests.helpers.scene_reader import SYNONYMS

VOCAB = Path(albef_jax.data.__file__).parent / "vocab"
ROOM = 480  # `vocab_size` of the presets that are trained on the built-in world
FIRST = 449  # tokens of the first version, which models were trained with
FIRST_SHA256 = "a11a758b9669a8ad824d70733028dcb588bffaf60df9e3c17ee6ab135f96fa43"


@pytest.fixture(scope="module")
def tokens():
    return (VOCAB / "scenes.txt").read_text(encoding="ascii").splitlines()


def test_the_file_lacks_no_word(tokens):
    assert extended(tokens) == tokens, "run `python -m tools.make_scene_vocab`"


def test_new_words_come_last_and_change_no_id(tokens):
    without = [token for token in tokens if token not in ("red", "exactly")]
    assert extended(without) == [*without, "exactly", "red"]


def test_ids_that_models_were_trained_with_never_change(tokens):
    text = "\n".join(tokens[:FIRST]) + "\n"
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST_SHA256


def test_special_tokens_have_the_ids_of_bert(tokens):
    bert = (VOCAB / "bert-base-uncased.txt").read_text(encoding="utf-8").splitlines()
    assert tokens[:104] == bert[:104]
    assert tokens.index("[MASK]") == 103


def test_tokens_are_unique_and_leave_room(tokens):
    assert len(set(tokens)) == len(tokens) <= ROOM


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


def test_everything_that_tasks_say_is_in_whole_words(tokens):
    said = set(ANSWERS)
    for source in (ScenesQuestions, ScenesSentences, ScenesTwoImages, ScenesReferring):
        world = source("test", 1500, 64)
        said.update(*(world.told(index).text.split() for index in range(1500)))
    assert said <= set(tokens)
    assert {"exactly", "belongs", "fewer", "neither", "someone", "six"} <= said
