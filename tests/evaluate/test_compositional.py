from types import SimpleNamespace

from albef_jax.evaluate.compositional import in_words, lines_of, of_unseen

# Records 2, 3, 5 and 9 were judged, in another order; 4 could not be read.
INDICES = [9, 2, 5, 3]
RIGHT = [True, False, True, True]


def share_right(places):
    return {"accuracy": 100 * sum(RIGHT[place] for place in places) / len(places)}


def source(*unseen):
    return SimpleNamespace(unseen=lambda index: index in unseen)


def test_only_items_that_training_never_shows_are_judged():
    found = of_unseen(source(2, 4, 9), INDICES, share_right)
    assert found == {"unseen": {"accuracy": 50.0, "count": 2}}
    assert of_unseen(source(2), INDICES, share_right)["unseen"] == {"accuracy": 0.0, "count": 1}


def test_nothing_is_said_where_nothing_is_known():
    assert of_unseen(source(), INDICES, share_right) == {}
    assert of_unseen(["a", "list"], INDICES, share_right) == {}
    assert lines_of({"accuracy": 50.0}) == []


def test_a_sentence_has_all_figures():
    figures = {"accuracy": 62.04, "majority": 55.3, "chance": 50.0, "count": 1619}
    assert in_words(figures) == (
        "1,619 show a combination of colour and shape that training never shows; of these alone: "
        "accuracy 62.04 %, most frequent answer 55.30 %, chance 50.00 %."
    )
    assert "ITM 28.00 %, ITC 31.40 %" in in_words({"itm": 28.0, "itc": 31.4, "count": 2})
    assert lines_of({"unseen": figures}) == [in_words(figures)]
