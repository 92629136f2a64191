"""Vocabularies of one's own words."""

import pytest

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.data.word_list import pieces_of, texts_of

TEXTS = ["is there a circle", "there is a café", "ça va"]


@pytest.fixture
def tokenizer(tmp_path):
    def make(pieces):
        (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        return Tokenizer(tmp_path / "vocab.txt", 20)

    return make


def spelt(tokenizer, text):
    ids, mask = tokenizer.encode([text])
    return tokenizer.pieces(ids[0][mask[0] > 0])


def test_every_word_is_one_piece_and_others_are_spelt(tokenizer):
    made = tokenizer(pieces_of(TEXTS))
    assert spelt(made, "There is a café") == ["[CLS]", "there", "is", "a", "cafe"]
    assert spelt(made, "is it 1") == ["[CLS]", "is", "i", "##t", "1"]


def test_characters_that_only_the_texts_have(tokenizer):
    made = tokenizer(pieces_of(["яблоко и груша"], size=5 + 2 * (36 + 11)))
    assert spelt(made, "и") == ["[CLS]", "и"]
    assert "[UNK]" not in spelt(made, "груша")


def test_the_most_frequent_words_come_first():
    pieces = pieces_of(TEXTS)
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert pieces[-6:] == ["is", "there", "ca", "cafe", "circle", "va"]
    assert len(set(pieces)) == len(pieces) == 5 + 2 * 36 + 6


def test_a_size_leaves_rare_words_to_be_spelt(tokenizer):
    made = tokenizer(pieces_of(TEXTS, size=5 + 2 * 36 + 2))
    assert made.vocab_size == 79
    assert spelt(made, "is va") == ["[CLS]", "is", "v", "##a"]
    with pytest.raises(ValueError, match="70 pieces are too few: the characters alone need 77"):
        pieces_of(TEXTS, size=70)


def test_texts_of_every_kind_of_annotation():
    assert texts_of({"image": "a.png", "caption": ["One dog!", "two"]}) == ["one dog", "two"]
    assert texts_of({"question": "A cat?", "answer": ["yes!"]}) == ["a cat", "yes!"]
    assert texts_of({"sentence": "S.", "label": "neutral"}) == ["s"]
    assert texts_of({"text": "left man", "ref_id": 3}) == ["left man"]
    with pytest.raises(ValueError, match="'answer' must be a text or a list of texts, not 3"):
        texts_of({"answer": 3})
