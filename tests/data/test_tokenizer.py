import json
from pathlib import Path

import numpy as np
import pytest

from albef_jax.data.tokenizer import SPECIALS, Tokenizer, clean_caption, clean_question

GOLDEN = Path(__file__).parents[1] / "golden" / "text"
CLEANING = json.loads((GOLDEN / "text_preprocessing.json").read_text("utf-8"))
TOKENS = json.loads((GOLDEN / "tokenizer.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def bert():
    return Tokenizer("bert-base-uncased", 30)


@pytest.mark.parametrize(
    ("clean", "kind", "limit"),
    [
        (clean_caption, "pre_caption", "max_words"),
        (clean_question, "pre_question", "max_ques_words"),
    ],
)
def test_cleaning_equals_the_official_one(clean, kind, limit):
    assert CLEANING[kind]
    for case in CLEANING[kind]:
        assert clean(case["in"], case[limit]) == case["out"], case["in"]


def test_a_caption_of_ten_thousand_words_is_cut(bert):
    cleaned = clean_caption("word " * 10_000, 30)
    assert cleaned.split() == ["word"] * 30
    ids, mask = bert.encode(["word " * 10_000])
    assert ids.shape == (1, 30) and mask.all()


def test_single_texts_equal_the_official_tokenizer(bert):
    for case in TOKENS["single"]:
        ids, mask = bert.encode([case["text"]], fixed_width=False, truncate=False)
        assert ids[0].tolist() == case["input_ids"], case["text"]
        assert bert.pieces(ids[0]) == case["tokens"]
        assert mask.all()


@pytest.mark.parametrize("name", TOKENS["batches"])
def test_batches_equal_the_official_tokenizer(name):
    case = TOKENS["batches"][name]
    options = case["options"]
    tokenizer = Tokenizer("bert-base-uncased", options.get("max_length", 30))
    ids, mask = tokenizer.encode(
        case["texts"],
        fixed_width=options["padding"] == "max_length",
        truncate=options.get("truncation", False),
    )
    assert ids.dtype == mask.dtype == np.int32
    assert ids.tolist() == case["input_ids"]
    assert mask.tolist() == case["attention_mask"]


def test_special_ids_and_size(bert):
    found = {name: getattr(bert, f"{name}_id") for name in TOKENS["special_ids"]}
    assert found == TOKENS["special_ids"]
    assert bert.vocab_size == TOKENS["vocab_size"]


def test_no_sep_at_the_end_and_padding_after(bert):
    ids, mask = bert.encode(["a dog"])
    assert bert.pieces(ids[0, :4]) == ["[CLS]", "a", "dog", "[PAD]"]
    assert mask.sum() == 3
    assert bert.decode(ids[0]) == "a dog"


def test_undecodable_characters_vanish_and_emoji_are_unknown(bert):
    ids, _ = bert.encode(["a \ud83d dog", "a � dog", "a 😀 dog"])
    assert bert.pieces(ids[0, :4]) == bert.pieces(ids[1, :4]) == ["[CLS]", "a", "dog", "[PAD]"]
    assert bert.pieces(ids[2, :4]) == ["[CLS]", "a", "[UNK]", "dog"]


def test_no_texts(bert):
    assert bert.encode([])[0].shape == (0, 30)


def test_fixed_width_without_truncation_is_refused(bert):
    with pytest.raises(ValueError, match="truncate=True"):
        bert.encode(["a dog"], truncate=False)


def test_own_vocabulary_by_path(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\n".join([*SPECIALS, "dog"]), "utf-8")
    tokenizer = Tokenizer(path, 4)
    assert tokenizer.encode(["Dog cat"])[0].tolist() == [[2, 5, 1, 0]]


def test_a_byte_order_mark_is_no_part_of_the_first_piece(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\n".join([*SPECIALS, "dog"]), "utf-8-sig")
    assert Tokenizer(path, 4).encode(["Dog cat"])[0].tolist() == [[2, 5, 1, 0]]
    path.write_text("\n".join([*SPECIALS, "dog"]), "utf-16")
    with pytest.raises(ValueError, match=r"own\.txt: not UTF-8 at byte 0; save it as UTF-8"):
        Tokenizer(path, 4)


def test_a_cased_vocabulary_is_refused(tmp_path):
    path = tmp_path / "cased.txt"
    path.write_text("\n".join([*SPECIALS, "[unused0]", "The", "dog", "Dog"]), "utf-8")
    with pytest.raises(
        ValueError, match=r"cased\.txt: a cased vocabulary: 2 of 9 pieces, as 'The'"
    ):
        Tokenizer(path, 4)


def test_unknown_vocabulary_lists_the_names():
    with pytest.raises(ValueError, match=r"'no-such'.*bert-base-uncased"):
        Tokenizer("no-such", 30)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [(["dog"], r"lacks \[PAD\]"), ([*SPECIALS, "dog", "cat", "dog"], "'dog' occurs twice")],
)
def test_broken_vocabulary_is_refused_with_its_path(tmp_path, pieces, message):
    path = tmp_path / "broken.txt"
    path.write_text("\n".join(pieces), "utf-8")
    with pytest.raises(ValueError, match=f"broken.txt.*{message}"):
        Tokenizer(path, 30)
